"""The objective section: its options written out, and what does not go with it. A name other than
grpo imports torch, with which the objectives are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gdro.config.base import faults
from gdro.core.errors import OptionError

if TYPE_CHECKING:
    from gdro.config.schema import TrainConfig
    from gdro.objectives.registry import Objective

GROUP_LOSSES = ("disco", "direct_reward")
"""Losses of their own, in the place of the clipped one."""


def objective_of(name: str, options: Mapping[str, Any]) -> Objective:
    """The objective of a name; raises OptionError as `gdro.objectives.make_objective`."""
    made: Objective = import_module("gdro.objectives.registry").make_objective(name, options)
    return made


def objective_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """The section with every option of the objective written out."""
    name = given.get("name", "grpo")
    if name == "grpo":
        return dict(given)
    known = import_module("gdro.objectives.registry").OBJECTIVES[name]
    defaults = {
        option.name: option.default for option in fields(known) if option.default is not MISSING
    }
    return {**defaults, **given}


def broken_by_objective(config: TrainConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """The keys that a rule goes by, the one to blame first, and what is wrong."""
    name, options = config.objective.name, config.objective.options
    if name == "grpo":
        for key in options:
            yield (
                (f"objective.{key}", "objective"),
                "grpo has no options; name an objective that has it",
            )
        return
    made = partial(objective_of, name)
    try:
        made(options)
    except OptionError as error:
        for key, what in faults("objective", made, options) or [("objective", str(error))]:
            yield (key, "objective"), what
        return
    if name in GROUP_LOSSES and config.beta != 0.0:
        yield (
            ("beta", "objective"),
            f"must be 0 with objective {name}, which has no KL term to the base",
        )
    if options.get("fine") is not None:
        what = (
            "is for GDROTrainer, which takes several reward functions; here the reward stands for f"
        )
        yield ("objective.fine", "objective"), what
    column = options.get("anchors")
    known = ("answer", *getattr(config.data, "metadata_columns", ()))
    if column is not None and column not in known:
        what = (
            f"is none of {', '.join(known)}; list the column with solutions in"
            " data.metadata_columns"
        )
        yield ("objective.anchors", "data.metadata_columns"), what
