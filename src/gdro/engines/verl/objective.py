"""`gdro.objective` in verl: rules between rewards and loss, which set the rows' advantages.

verl computes its own loss over all rows of a batch, so what can be had here is what advantages can
say: `dppo`, `pps` and `cppo` give rollouts that they leave out advantage 0, `dagrpo` takes the
advantages among the rollouts that its mask admits. The gradient is the rule's; verl still computes
the rows left out, so no time is saved. A loss of another form (`disco`, `direct_reward`), anchors
and a fine score of its own (verl hands on one score a rollout) are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdro.core.advantages import ADVANTAGES
from gdro.core.errors import OptionError
from gdro.core.types import Floats, Ints
from gdro.engines.answer import Answer
from gdro.engines.interface import Controller
from gdro.engines.verl.rows import PADDING, Rows
from gdro.objectives.dagrpo import DaGRPO
from gdro.objectives.registry import GRPO, make_objective
from gdro.objectives.rules import Rollouts, RowRule, ruled_advantages

EPSILON = 1e-6
"""Beside the standard deviation, as in verl."""


@dataclass(frozen=True, slots=True)
class TrainingPosition:
    """Where a run stands: its seed, its step, and the share of it that is done."""

    seed: int = 0
    step: int = 0
    done: float = 0.0


START = TrainingPosition()


def row_rule(
    objective: str | Mapping[str, Any], kind: str, controller: Controller
) -> RowRule | None:
    """The rule of an objective; None for `grpo`.

    Args:
        objective: a name, or a mapping of `name` and options.
        kind: the advantage that verl computes.

    Raises:
        OptionError: an objective, or an option of it, that verl cannot take; says what can be had.
    """
    options = {"name": objective} if isinstance(objective, str) else dict(objective)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise OptionError(f"gdro.objective={objective!r} lacks a name, such as dppo")
    rule = make_objective(name, options)
    if isinstance(rule, GRPO):
        return None
    if not isinstance(rule, RowRule):
        raise OptionError(
            f"gdro.objective={name} is a loss of its own, and verl computes its own loss: choose"
            " dppo, pps, cppo or dagrpo, or train with gdro train or TRL"
        )
    if isinstance(rule, DaGRPO) and (rule.fine is not None or rule.anchors is not None):
        raise OptionError(
            "gdro.objective.fine and .anchors are not for verl, which hands on one score a rollout"
            " and trains on its own rollouts alone; leave them out, or use gdro train or TRL"
        )
    if kind not in ADVANTAGES:
        raise OptionError(
            f"gdro.objective={name} needs algorithm.adv_estimator=grpo, not {kind!r}: it takes"
            " advantages of its own"
        )
    if controller.needs_losses:
        raise OptionError(
            f"gdro.objective={name} does not go with controller {controller.name!r}, which needs"
            " the losses of all rollouts; take another signal or controller"
        )
    return rule


def ruled_rows(
    rule: RowRule,
    answer: Answer,
    rows: Rows,
    scores_R: Floats,
    kind: str,
    progress: TrainingPosition,
) -> tuple[Floats, dict[str, float]]:
    """(R,) advantages of the rows, the controller's weights in them, and the rule's metrics.

    A rollout is a session; every row of a session has its advantage. Padding has 0.
    """
    finals = np.array([row for sessions in rows.finals for row in sessions], np.int64)

    def compare(rewards: Floats, groups: Ints) -> Floats:
        return answer.advantages(rewards, groups, kind, epsilon=EPSILON, ddof=1)  # type: ignore[arg-type]

    rollouts = Rollouts(
        scores_R[finals],
        rows.prompts_R[finals],
        answer.prompt_ids,
        seed=progress.seed,
        step=progress.step,
        progress=progress.done,
    )
    ruled = ruled_advantages(rule, rollouts, compare, answer.factors)
    given = np.zeros(len(scores_R))
    given[finals] = ruled.advantages
    given = np.where(rows.prompts_R == PADDING, 0.0, given[rows.final_R])
    return given, {f"gdro/objective/{name}": value for name, value in ruled.metrics.items()}
