"""What every part of the settings shares: strictness, number ranges, paths, and the one error they
raise."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from gdro.core.errors import GDROError


class ConfigError(GDROError):
    """Settings that cannot be used: a line per problem, with key, value, its place and what is
    allowed.

    Not a ValueError, because pydantic would wrap one and bury the message.
    """


class Section(BaseModel):
    """A part of the settings: unknown keys are errors, types are not bent, nothing changes after
    loading.

    The text below a field is its line in `gdro train --help` and in docs/configuration.md.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


def one_as_tuple(value: Any) -> Any:
    """A single text stands for a list of one; a YAML list becomes a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(one_as_tuple)]
PathText = Annotated[Text, AfterValidator(os.path.expanduser)]
Paths = Annotated[tuple[PathText, ...], BeforeValidator(one_as_tuple)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Rollouts = Annotated[int, Field(ge=1, le=4096)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
