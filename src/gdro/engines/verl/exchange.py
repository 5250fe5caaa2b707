"""One controller behind verl's three questions: how many rollouts, what factor on each row, what did the losses say.

Numpy only: the trainer brings keys, tags and numbers, and this class decides. The same code is replayed in tests.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdro.controllers.controller import Controller
from gdro.core.errors import PlanError, StateError
from gdro.core.types import Floats, Ints, Plan
from gdro.engines.verl.rows import PADDING, Rows, read_rows
from gdro.engines.verl.settings import Weighting

MAX_SKIPS = 10
"""Batches in a row with missing rollouts after which a run stops."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Factors:
    """What to make of the advantages.

    Attributes:
        factors_R: (R,) factor of each row; 1 for padding.
        rows: the batch, sorted by prompt.
        advantages_R: (R,) what stands for verl's advantages before the factor; None to leave verl's; 0 for padding.
    """

    factors_R: Floats
    rows: Rows
    advantages_R: Floats | None = None


class Exchange:
    """The traffic between verl's trainer and a controller, one batch at a time.

    Attributes:
        controller: who decides.
        weighting: see `Settings`.
        skipped: batches from which the controller could not learn, because rollouts were missing.
    """

    def __init__(self, controller: Controller, weighting: Weighting) -> None:
        self.controller = controller
        self.weighting = weighting
        self.skipped = 0
        self._skipped_in_a_row = 0
        self._plan: Plan | None = None
        self._uids: dict[str, int] = {}
        self._answered: tuple[tuple[str, ...], Rows] | None = None

    def plan(self, prompt_ids: Sequence[str], uids: Sequence[str]) -> Ints:
        """(M,) rollouts of a batch.

        Args:
            prompt_ids: (M,) stable ids.
            uids: (M,) verl's names of the same prompts for this step.

        Raises:
            PlanError: the last batch was never answered.
            PromptIdError: from the controller.
        """
        if self._plan is not None:
            raise PlanError("a batch is planned while the last one waits for its rewards; use trainer_mode=gdro (sync)")
        self._plan = self.controller.plan(prompt_ids)
        self._uids = {uid: place for place, uid in enumerate(uids)}
        if len(self._uids) != len(self._plan.prompt_ids):
            raise PlanError(f"{len(self._plan.prompt_ids)} prompts came with {len(self._uids)} distinct uids")
        return self._plan.rollouts

    def observe(self, keys: Sequence[str], is_padding: Sequence[bool], scores_R: Floats) -> Factors:
        """Answer the plan with the rows' scores; the factors of their advantages come back.

        Raises:
            PlanError: there is no plan, rows belong to no plan, or rollouts were missing MAX_SKIPS times in a row.
            RewardError: a score that is not a finite number.
        """
        if self._plan is None:
            raise PlanError("a batch came back that was never planned")
        rows = read_rows(keys, is_padding, self._uids)
        counts = rows.counts
        advantages_R: Floats | None = None
        if (counts == self._plan.rollouts).all():
            feedback = self.controller.observe(self._plan.prompt_ids, rows.rewards(scores_R))
            weights = feedback.weights
            advantages_R = feedback.own_advantages(scores_R[rows.final_R], rows.prompts_R)
            if advantages_R is not None:
                advantages_R = np.where(rows.prompts_R == PADDING, 0.0, advantages_R)
            self._skipped_in_a_row = 0
            self._answered = (self._plan.prompt_ids, rows)
        else:
            self._skip(self._plan, counts)
            weights = np.ones(len(counts))
        self._plan = None
        if self.weighting == "prompt":
            weights = weights * self.controller.mean_rollouts / np.maximum(counts, 1)
        return Factors(rows.spread(weights, 1.0), rows, advantages_R)

    def observe_losses(self, sums_M: Floats, rows: float) -> None:
        """Hand the surrogate losses to the controller; nothing happens after a skipped batch.

        Args:
            sums_M: (M,) sum of the losses of each prompt's rows, times any constant c (workers, passes, mini-batches).
            rows: number of rows summed over, times the same c.
        """
        if self._answered is None:
            return
        prompt_ids, batch = self._answered
        self._answered = None
        rows_M = np.bincount(batch.prompts_R[batch.prompts_R >= 0], minlength=len(prompt_ids))
        losses_M = sums_M / (rows / batch.real) / rows_M
        logger.debug("%s", json.dumps(dict(zip(prompt_ids, losses_M.tolist(), strict=True))))
        self.controller.observe_losses(prompt_ids, losses_M)

    def metrics(self) -> dict[str, float]:
        """The controller's metrics as numbers by flat names; values that do not exist (NaN) are left out."""
        flat: dict[str, float] = {"gdro/skipped_steps": self.skipped, "gdro/prompt_mean": self.weighting == "prompt"}
        for key, value in self.controller.metrics().items():
            if isinstance(value, list):
                flat |= {f"gdro/{key}/bin_{place}": number for place, number in enumerate(value)}
            elif not isinstance(value, str):
                flat[f"gdro/{key}"] = value
        return {key: float(value) for key, value in flat.items() if np.isfinite(value)}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the future depends on, between two steps."""
        return {"controller": self.controller.state_dict(), "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            StateError: another controller or other options saved it.
        """
        if set(state) != {"controller", "skipped"}:
            raise StateError(f"this is not a state of gdro's verl plug-in: it holds {', '.join(sorted(state))}")
        self.controller.load_state_dict(state["controller"])
        self.skipped = int(state["skipped"])

    def _skip(self, plan: Plan, counts: Ints) -> None:
        self.controller.cancel(plan)
        self._answered = None
        self.skipped += 1
        self._skipped_in_a_row += 1
        short = np.flatnonzero(counts != plan.rollouts)
        message = (
            f"{len(short)} of {len(counts)} prompts came back with other numbers of rollouts than planned, the first "
            f"{plan.prompt_ids[short[0]]!r} with {counts[short[0]]} of {plan.rollouts[short[0]]}"
        )
        if self._skipped_in_a_row >= MAX_SKIPS:
            raise PlanError(
                f"{message}, {MAX_SKIPS} batches in a row: the controller learns nothing; mend the rollouts"
            )
        logger.warning("%s; the controller does not learn from this step, all weights are 1", message)
