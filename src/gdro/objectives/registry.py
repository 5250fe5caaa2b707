"""The objectives by name: what a configuration may ask for, each with the dataclass of its options.

A `RowRule` changes which rollouts enter GRPO's loss and at what weight; a `GroupObjective` is a
loss of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from gdro.core.errors import OptionError
from gdro.objectives.dagrpo import DaGRPO
from gdro.objectives.direct_reward import DirectReward
from gdro.objectives.disco import DisCO
from gdro.objectives.pruning import CPPO, DPPO, PPS
from gdro.objectives.rules import RowRule


@dataclass(frozen=True, slots=True)
class GRPO(RowRule):
    """The engine's own clipped loss on the controller's advantages; no options."""


NamedObjective = GRPO | DPPO | PPS | CPPO | DaGRPO | DisCO | DirectReward

OBJECTIVES: dict[str, type[NamedObjective]] = {
    "grpo": GRPO,
    "dppo": DPPO,
    "pps": PPS,
    "cppo": CPPO,
    "dagrpo": DaGRPO,
    "disco": DisCO,
    "direct_reward": DirectReward,
}


def objective_defaults(name: str) -> dict[str, Any]:
    """Every option of an objective that has a default, and that; none of a name that is none."""
    options = fields(OBJECTIVES[name]) if name in OBJECTIVES else ()
    return {option.name: option.default for option in options if option.default is not MISSING}


def make_objective(name: str, options: Mapping[str, Any] | None = None) -> NamedObjective:
    """The objective of a name, with its options checked.

    Raises:
        OptionError: an unknown name or option, or a value out of range.
    """
    if name not in OBJECTIVES:
        raise OptionError(f"objective={name!r}: choose one of {', '.join(OBJECTIVES)}")
    known = [option.name for option in fields(OBJECTIVES[name])]
    for option in options or {}:
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise OptionError(f"objective {name!r} has no option {option!r}; {has}")
    return OBJECTIVES[name](**(options or {}))
