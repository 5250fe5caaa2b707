"""One controller behind slime's two questions: how many samples a prompt gets, and what each sample's advantage is.

Numpy only: the data source brings group numbers and rewards, and this class decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gdro.controllers.controller import Controller
from gdro.core.errors import PlanError
from gdro.core.types import Floats, Ints, Plan
from gdro.engines.verl.settings import Weighting


class Answer(NamedTuple):
    """What the rewards of a batch were answered with.

    Attributes:
        factors_R: (R,) factor of each sample's advantage.
        advantages_R: (R,) the advantages before that, where the controller compares rewards with a baseline of its own;
            None for those of the groups.
    """

    factors_R: Floats
    advantages_R: Floats | None


class Exchange:
    """The traffic between slime's rollout manager and a controller, one rollout batch at a time.

    Attributes:
        controller: who decides.
        weighting: `prompt` scales a prompt's advantages by mean rollouts / its rollouts; `row` leaves them.
    """

    def __init__(self, controller: Controller, weighting: Weighting) -> None:
        self.controller = controller
        self.weighting = weighting
        self._plan: Plan | None = None
        self._places: dict[int, int] = {}

    def plan(self, prompt_ids: Sequence[str], groups: Sequence[int]) -> Ints:
        """(M,) samples of each prompt; the sum is M * mean_rollouts.

        Args:
            prompt_ids: (M,) stable ids.
            groups: (M,) slime's `Sample.group_index` of the same prompts.

        Raises:
            PlanError: the last batch was never answered, or two prompts share a group.
            PromptIdError: from the controller.
        """
        if self._plan is not None:
            raise PlanError(
                "slime asked for samples while the last batch waits for its rewards; use its own rollout function, "
                "which asks once a batch"
            )
        places = {group: place for place, group in enumerate(groups)}
        if len(places) != len(prompt_ids):
            raise PlanError(f"{len(prompt_ids)} prompts came with {len(places)} distinct group_index values")
        self._plan = self.controller.plan(prompt_ids)
        self._places = places
        return self._plan.rollouts

    def observe(self, groups_R: Sequence[int | None], rewards_R: Sequence[float]) -> Answer:
        """Answer the plan with the samples' rewards.

        Args:
            groups_R: (R,) `Sample.group_index` of every sample of the batch, in any order.
            rewards_R: (R,) their rewards, in the same order.

        Raises:
            PlanError: there is no plan, or a sample belongs to no planned group.
            RewardError: a reward is missing, too many or not a finite number. Nothing is learned then.
        """
        if self._plan is None:
            raise PlanError("samples came back that were never planned")
        strange = [group for group in groups_R if group not in self._places]
        if strange:
            raise PlanError(f"{len(strange)} samples belong to no planned group, the first to {strange[0]!r}")
        places_R = np.array([self._places[group] for group in groups_R if group is not None])
        rewards: list[list[float]] = [[] for _ in self._plan.prompt_ids]
        for place, reward in zip(places_R.tolist(), rewards_R, strict=True):
            rewards[place].append(reward)
        feedback = self.controller.observe(self._plan.prompt_ids, rewards)
        factors = feedback.weights
        if self.weighting == "prompt":
            factors = factors * self.controller.mean_rollouts / self._plan.rollouts
        self._plan = None
        return Answer(factors[places_R], feedback.own_advantages(rewards_R, places_R))
