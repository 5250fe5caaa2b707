"""A controller behind a batch of rollout groups that finish at different times: all report, then all get their factor.

No tinker in here. The groups of a batch are tasks of one event loop; each hands in its rewards and waits for the last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gdro.controllers.controller import Controller
from gdro.core.errors import PlanError
from gdro.core.types import Floats, Plan

Weighting = Literal["prompt", "row"]

MAX_SKIPS = 10
"""Batches in a row with missing rollouts after which a run stops."""

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Exchange:
    """The traffic between a training loop and a controller, one batch at a time.

    Attributes:
        controller: who decides.
        weighting: `prompt` scales a prompt's advantages by mean rollouts / its rollouts, so that a plan is no hidden
            weight; `row` leaves them, so that a prompt counts by its rollouts.
        skipped: batches from which the controller could not learn, because rollouts were missing.
    """

    controller: Controller
    weighting: Weighting = "prompt"
    skipped: int = 0

    def __post_init__(self) -> None:
        self._skipped_in_a_row = 0
        self._last: Batch | None = None

    def open(self, prompt_ids: Sequence[str], answered: Callable[[], None]) -> Batch:
        """Plan a batch.

        Args:
            prompt_ids: (M,) stable ids.
            answered: called once, after the controller took in the rewards.

        Raises:
            PlanError: the last batch was not answered.
            PromptIdError: from the controller.
        """
        if self._last is not None and self._last.factors is None:
            raise PlanError(
                "a batch is planned before the last one was answered: either its rewards were refused (the error is in "
                "the log above), or the loop is not tinker-cookbook's synchronous one, which gdro needs"
            )
        self._last = Batch(self, self.controller.plan(prompt_ids), answered)
        return self._last

    def answer(self, plan: Plan, rewards: Sequence[Sequence[float]]) -> Floats:
        """(M,) factor of each prompt's advantages; a batch with missing rollouts teaches nothing and weighs 1.

        Raises:
            PlanError: rollouts were missing MAX_SKIPS times in a row.
            RewardError: a reward that is not a finite number.
        """
        counts = np.array([len(group) for group in rewards])
        if (counts == plan.rollouts).all():
            weights = self.controller.observe(plan.prompt_ids, rewards).weights
            self._skipped_in_a_row = 0
        else:
            self._skip(plan, int(np.flatnonzero(counts != plan.rollouts)[0]), counts)
            weights = np.ones(len(counts))
        if self.weighting == "prompt":
            weights = weights * self.controller.mean_rollouts / np.maximum(counts, 1)
        return weights

    def metrics(self) -> dict[str, float]:
        """The controller's metrics as numbers by flat names; values that do not exist (NaN) are left out."""
        flat: dict[str, float] = {"gdro/skipped_steps": self.skipped}
        for key, value in self.controller.metrics().items():
            if isinstance(value, list):
                flat |= {f"gdro/{key}/bin_{place}": number for place, number in enumerate(value)}
            elif not isinstance(value, str):
                flat[f"gdro/{key}"] = value
        return {key: float(value) for key, value in flat.items() if np.isfinite(value)}

    def to_dict(self) -> dict[str, Any]:
        """Who decides, for the run's record."""
        return {
            "controller": self.controller.name,
            "weighting": self.weighting,
            **self.controller.state_dict()["options"],
        }

    def _skip(self, plan: Plan, place: int, counts: np.ndarray) -> None:
        self.controller.cancel(plan)
        self.skipped += 1
        self._skipped_in_a_row += 1
        message = (
            f"{int((counts != plan.rollouts).sum())} of {len(counts)} prompts came back with other numbers of rollouts "
            f"than planned, the first {plan.prompt_ids[place]!r} with {counts[place]} of {plan.rollouts[place]}"
        )
        if self._skipped_in_a_row >= MAX_SKIPS:
            raise PlanError(
                f"{message}, {MAX_SKIPS} batches in a row: the controller learns nothing; mend the rollouts"
            )
        logger.warning("%s; the controller does not learn from this step, all weights are 1", message)


class Batch:
    """One planned batch.

    Attributes:
        plan: how many rollouts each prompt gets.
        factors: (M,) of the prompts' advantages; None until every group has reported.
        metrics: the controller's numbers after that, as `gdro/<name>`.
    """

    def __init__(self, exchange: Exchange, plan: Plan, answered: Callable[[], None]) -> None:
        self.plan = plan
        self.factors: Floats | None = None
        self.metrics: dict[str, float] = {}
        self._exchange = exchange
        self._answered = answered
        self._rewards: dict[int, list[float]] = {}
        self._complete = asyncio.Event()

    async def factor(self, place: int, rewards: Sequence[float]) -> float:
        """Hand in the rewards of the prompt at `place`; wait for the others; its factor comes back.

        Raises:
            PlanError: the batch's rewards were refused (whoever reported last has the reason).
            RewardError: this was the last report, and some reward of the batch is not a finite number.
        """
        self.report(place, rewards)
        await self._complete.wait()
        if self.factors is None:
            raise PlanError(f"the batch of prompt {self.plan.prompt_ids[place]!r} was refused; see the other error")
        return float(self.factors[place])

    def report(self, place: int, rewards: Sequence[float]) -> None:
        """The rewards of the prompt at `place`, empty if its rollouts failed; only its first report counts.

        Raises:
            PlanError, RewardError: as `Exchange.answer`, to whoever reports last.
        """
        if place in self._rewards:
            return
        self._rewards[place] = list(rewards)
        if len(self._rewards) < len(self.plan.prompt_ids):
            return
        try:
            factors = self._exchange.answer(self.plan, [self._rewards[i] for i in range(len(self._rewards))])
            self.metrics = self._exchange.metrics()
            self._answered()
            self.factors = factors
        finally:
            self._complete.set()
