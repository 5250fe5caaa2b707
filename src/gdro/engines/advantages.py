"""What an engine computes as a group's advantage, told to controllers whose weights correct for it (MaxRL, DARO)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gdro.controllers.registry import controller_options
from gdro.core.errors import OptionError


def told(name: str, options: Mapping[str, Any], kind: str, ddof: int) -> dict[str, Any]:
    """`options` of a controller, with its `advantage` and `ddof` filled in if it has such options and none are given.

    Args:
        name: of the controller.
        kind: grpo, dr_grpo or rloo, as the engine computes it.
        ddof: of the engine's standard deviation.

    Raises:
        OptionError: no such controller.
    """
    facts = {"advantage": kind, "ddof": ddof}
    return {key: value for key, value in facts.items() if key in controller_options(name)} | dict(options)


def check_told(controller: object, kind: str, ddof: int) -> None:
    """Raise an OptionError where a controller corrects for another advantage than the engine computes."""
    for key, fact in (("advantage", kind), ("ddof", ddof)):
        if (said := getattr(controller, key, fact)) != fact and (key == "advantage" or kind == "grpo"):
            raise OptionError(
                f"{key}={said!r} of controller {getattr(controller, 'name', type(controller).__name__)!r}: its weights "
                f"correct for the engine's advantage, which has {key}={fact!r}; make them agree"
            )
