"""What an engine computes as a group's advantage, told to controllers whose weights correct for it (MaxRL, DARO)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gdro.controllers.registry import check_run


def told(options: Mapping[str, Any], kind: str, ddof: int) -> dict[str, Any]:
    """`options` for `make_controller`, with what the engine computes.

    Args:
        kind: grpo, dr_grpo or rloo, as the engine computes it.
        ddof: of the engine's standard deviation.
    """
    return dict(options) | {"run": {"advantage": kind, "ddof": ddof} | dict(options.get("run", {}))}


def check_told(controller: object, kind: str, ddof: int) -> None:
    """Raise an OptionError where a controller corrects for another advantage than the engine computes."""
    check_run(controller, {"advantage": kind, "ddof": ddof})
