"""From slime's samples and groups to a `ControllerSession` and back. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gdro.core.advantages import AdvantageKind
from gdro.core.errors import PlanError
from gdro.core.types import Floats, Ints
from gdro.engines.session import ControllerSession

EPSILON, DDOF = 1e-6, 1
"""What slime adds to a group's standard deviation, and of which kind that is."""


class SlimeBridge:
    """Names each prompt of a batch by slime's `Sample.group_index`.

    Args:
        session: plans and answers.
        kind: the advantage that slime is asked for.
    """

    def __init__(self, session: ControllerSession[Any], kind: AdvantageKind = "grpo") -> None:
        self.session, self.kind = session, kind
        self._places: dict[int, int] = {}

    def plan(self, prompt_ids: Sequence[str], groups: Sequence[int]) -> Ints:
        """(M,) samples of each prompt; the sum is M * mean_rollouts.

        Args:
            prompt_ids: (M,) stable ids.
            groups: (M,) slime's `Sample.group_index` of the same prompts.

        Raises:
            PlanError, PromptIdError: as `ControllerSession.plan`, or two prompts share a group.
        """
        places = {group: place for place, group in enumerate(groups)}
        if len(places) != len(prompt_ids):
            raise PlanError(
                f"{len(prompt_ids)} prompts came with {len(places)} distinct group_index values"
            )
        rollouts = self.session.plan(prompt_ids).rollouts
        self._places = places
        return rollouts

    def observe(
        self,
        groups_R: Sequence[int | None],
        rewards_R: Sequence[float | None],
        tokens_R: Sequence[int] | None = None,
    ) -> Floats:
        """Answer the plan; the (R,) advantages to train on come back, 0 for a sample without
        reward.

        Args:
            groups_R: (R,) `Sample.group_index` of every sample of the batch, in any order.
            rewards_R: (R,) their rewards, in the same order; None for a sample that has none.
            tokens_R: (R,) tokens of their responses, for a controller that needs them.

        Raises:
            PlanError, RewardError: as `ControllerSession.observe`, or a sample belongs to no
                planned group.
        """
        strange = [group for group in groups_R if group is None or group not in self._places]
        if strange:
            raise PlanError(
                f"{len(strange)} samples belong to no planned group, the first to {strange[0]!r}"
            )
        if tokens_R is not None:
            self._tell_tokens(groups_R, tokens_R)
        scored = [row for row, reward in enumerate(rewards_R) if reward is not None]
        places = np.array([self._places[groups_R[row]] for row in scored], np.int64)  # type: ignore[index]
        values = [rewards_R[row] for row in scored]
        rewards: list[list[Any]] = [[] for _ in self._places]
        for place, reward in zip(places.tolist(), values, strict=True):
            rewards[place].append(reward)
        answer = self.session.observe(rewards)
        advantages = np.zeros(len(rewards_R))
        if scored:
            own = answer.advantages(
                np.array(values, np.float64), places, self.kind, epsilon=EPSILON, ddof=DDOF
            )
            advantages[scored] = answer.factors[places] * own
        return advantages

    def _tell_tokens(self, groups_R: Sequence[int | None], tokens_R: Sequence[int]) -> None:
        """Each prompt's mean tokens to the controller, samples without a reward counted too."""
        places = np.array([self._places[group] for group in groups_R], np.int64)  # type: ignore[index]
        sums = np.bincount(places, weights=tokens_R, minlength=len(self._places))
        counts = np.bincount(places, minlength=len(self._places))
        self.session.observe_tokens(sums / np.maximum(counts, 1))
