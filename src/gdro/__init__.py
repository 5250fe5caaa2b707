"""gdro: how many rollouts each prompt gets, and what weight.

An engine-free core for group distributionally robust post-training of language models (arXiv
2601.19280):

    controller = gdro.make_controller("joint", mean_rollouts=4)
    plan = controller.plan(prompt_ids)                  # whole numbers, exactly 4 a prompt
    feedback = controller.observe(prompt_ids, rewards)  # feedback.weights: one factor a prompt
    advantages = gdro.group_advantages(rewards, feedback=feedback)   # ragged, times the weights

Each name is imported when it is first used. All need numpy and threadpoolctl alone, but for
`gdro.GDROTrainer` and `gdro.GDROConfig`, which need the extra gdro[trl].
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gdro.controllers.controller import Controller
    from gdro.controllers.making import make_controller
    from gdro.controllers.part import (
        Allocation,
        Allocator,
        Baseline,
        Batch,
        Estimator,
        Part,
        Selector,
        Weigher,
    )
    from gdro.controllers.parts import Parts
    from gdro.controllers.registry import controller_names, controller_options, part_names
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
    from gdro.engines.trl import GDROConfig, GDROTrainer

__version__ = "0.1.0"

__all__ = [
    "UNSEEN",
    "Allocation",
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

_PUBLIC = {
    "gdro.controllers.controller": "Controller",
    "gdro.controllers.part": "Allocation Allocator Baseline Batch Estimator Part Selector Weigher",
    "gdro.controllers.parts": "Parts",
    "gdro.controllers.making": "make_controller",
    "gdro.controllers.registry": "controller_names controller_options part_names",
    "gdro.core.advantages": "flat_advantages group_advantages",
    "gdro.core.belief": "Belief",
    "gdro.core.budget": "exact_budget sqrt_law",
    "gdro.core.errors": (
        "BudgetError GDROError HookError OptionError PlanError PromptIdError RewardError StateError"
    ),
    "gdro.core.outcome": "Outcome",
    "gdro.core.passk": "Interval bootstrap by_group mean_at_k pass_at_k worst_group",
    "gdro.core.prompts": "Prompts source_of",
    "gdro.core.state": "load_state save_state state_hash",
    "gdro.core.types": "UNSEEN Feedback Plan",
    "gdro.engines.trl": "GDROConfig GDROTrainer",
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `import gdro` alone costs nothing, an engine
    only its user."""
    if name not in _HOME:
        raise AttributeError(f"module 'gdro' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
