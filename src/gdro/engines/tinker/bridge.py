"""A `ControllerSession` behind a batch of rollout groups that finish at different times: all
report, then all get their factor.

No tinker in here. The groups of a batch are tasks of one event loop; each hands in its rewards and
waits for the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gdro.core.errors import PlanError
from gdro.core.types import Floats, Plan
from gdro.engines.session import ControllerSession


class PlannedBatch:
    """One planned batch.

    Args:
        session: plans and answers.
        prompt_ids: (M,) stable ids.
        answered: called once, after the controller took in the rewards.

    Attributes:
        plan: how many rollouts each prompt gets.
        factors: (M,) of the prompts' advantages; None until every group has reported.
        metrics: the session's numbers after that.

    Raises:
        PlanError, PromptIdError: as `ControllerSession.plan`.
    """

    def __init__(
        self,
        session: ControllerSession[Any],
        prompt_ids: Sequence[str],
        answered: Callable[[], None],
    ) -> None:
        self.session = session
        self.plan: Plan = session.plan(prompt_ids)
        self.factors: Floats | None = None
        self.metrics: dict[str, float] = {}
        self._answered = answered
        self._rewards: dict[int, list[float]] = {}
        self._tokens: dict[int, float] = {}
        self._complete = asyncio.Event()

    async def factor(self, place: int, rewards: Sequence[float], tokens: float = 0.0) -> float:
        """Hand in the rewards of the prompt at `place`; wait for the others; its factor comes back.

        Args:
            tokens: mean tokens of its rollouts, for a controller that needs them; 0 where there are
                none.

        Raises:
            PlanError: the batch's rewards were refused (whoever reported last has the reason).
            RewardError: this was the last report, and some reward of the batch is not a finite
                number.
        """
        self.report(place, rewards, tokens)
        await self._complete.wait()
        if self.factors is None:
            prompt = self.plan.prompt_ids[place]
            raise PlanError(f"the batch of prompt {prompt!r} was refused; see the other error")
        return float(self.factors[place])

    def report(self, place: int, rewards: Sequence[float], tokens: float = 0.0) -> None:
        """The rewards of the prompt at `place`, empty if its rollouts failed; only the first
        counts.

        Raises:
            PlanError, RewardError: as `ControllerSession.observe`, to whoever reports last.
        """
        if place in self._rewards:
            return
        self._rewards[place], self._tokens[place] = list(rewards), tokens
        if len(self._rewards) < len(self.plan.prompt_ids):
            return
        try:
            self.session.observe_tokens([self._tokens[i] for i in range(len(self._tokens))])
            answer = self.session.observe([self._rewards[i] for i in range(len(self._rewards))])
            self.metrics = self.session.metrics()
            self._answered()
            self.factors = answer.factors
        finally:
            self._complete.set()
