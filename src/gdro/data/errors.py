"""The one error of every data door."""

from __future__ import annotations

from gdro.core.errors import GDROError


class DataError(GDROError, ValueError):
    """Data that cannot be used: names the file, the row (the first is 1) and what to do.

    Nothing of a load that raised it is kept.
    """


COUNTS_ANEW = (
    "their id column counts anew in every file; set data.id_column: null, which makes ids of the"
    " prompts' texts"
)
"""What to do when one id names two prompts, as in verl's own GSM8K files."""


def shown(value: object, width: int = 60) -> str:
    """`value` as an error quotes it: at most about `width` characters."""
    text = repr(value[: 2 * width] if isinstance(value, str | bytes) else value)
    return text if len(text) <= width else f"{text[: width - 3]}..."
