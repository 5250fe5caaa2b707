"""gdro: how many rollouts each prompt gets, and what weight.

An engine-free core for group distributionally robust post-training of language models (arXiv 2601.19280):

    controller = gdro.make_controller("joint", mean_rollouts=4)
    plan = controller.plan(prompt_ids)                   # plan.rollouts: whole numbers, sum exactly 4 a prompt
    feedback = controller.observe(prompt_ids, rewards)   # feedback.weights: one factor a prompt
    advantages = gdro.group_advantages(rewards, feedback=feedback)   # ragged, times the weights

Importing gdro needs numpy alone; `gdro.GDROTrainer` and `gdro.GDROConfig` need the extra gdro[trl].
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gdro.controllers.controller import Controller, Parts
from gdro.controllers.part import Allocator, Baseline, Batch, Estimator, Part, Selector, Weigher
from gdro.controllers.registry import controller_names, controller_options, make_controller, part_names
from gdro.core.advantages import flat_advantages, group_advantages
from gdro.core.belief import Belief
from gdro.core.budget import exact_budget, sqrt_law
from gdro.core.errors import (
    BudgetError,
    GDROError,
    HookError,
    OptionError,
    PlanError,
    PromptIdError,
    RewardError,
    StateError,
)
from gdro.core.outcome import Outcome
from gdro.core.passk import Interval, bootstrap, by_group, mean_at_k, pass_at_k, worst_group
from gdro.core.prompts import Prompts, source_of
from gdro.core.state import load_state, save_state, state_hash
from gdro.core.types import UNSEEN, Feedback, Plan

if TYPE_CHECKING:
    from gdro.engines.trl import GDROConfig, GDROTrainer

__version__ = "0.1.0"

__all__ = [
    "UNSEEN",
    "Allocator",
    "Baseline",
    "Batch",
    "Belief",
    "BudgetError",
    "Controller",
    "Estimator",
    "Feedback",
    "GDROConfig",
    "GDROError",
    "GDROTrainer",
    "HookError",
    "Interval",
    "OptionError",
    "Outcome",
    "Part",
    "Parts",
    "Plan",
    "PlanError",
    "PromptIdError",
    "Prompts",
    "RewardError",
    "Selector",
    "StateError",
    "Weigher",
    "bootstrap",
    "by_group",
    "controller_names",
    "controller_options",
    "exact_budget",
    "flat_advantages",
    "group_advantages",
    "load_state",
    "make_controller",
    "mean_at_k",
    "part_names",
    "pass_at_k",
    "save_state",
    "source_of",
    "sqrt_law",
    "state_hash",
    "worst_group",
]

_LAZY = {"GDROConfig": "gdro.engines.trl", "GDROTrainer": "gdro.engines.trl"}


def __getattr__(name: str) -> Any:
    """Import the engine adapters on first use only."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gdro' has no attribute {name!r}")
