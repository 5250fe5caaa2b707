"""Reinforce-Ada: sample each prompt in rounds until it has shown what is needed, then keep a
balanced few.

Source: Xiong et al., arXiv 2510.04996; read in the release: up to 4 rounds of 8 rollouts for every
prompt still active, a rollout is positive above 0.7, and a prompt is finished when it has

    balanced            keep // 2 positive and keep - keep // 2 negative rollouts
    positive_focused    one positive rollout

Then `keep` = 4 of them train, half positive where there are that many, the first generated first;
what is missing of one kind is filled with the other. Mean and standard deviation of the advantage
come from ALL rollouts of the prompt (`global_stat_est` there). Unfinished prompts keep what they
have by the same rule (for positive_focused the release keeps them in proportion; here both rules
share one). `rollouts` counts every rollout generated.

It needs an engine that generates several times a step. The engine's part:

    rounds = ReinforceAda(prompt_ids)
    while rounds.active:
        rounds.add(rounds.active, score(generate(rounds.active, rounds.round_size)))
    train on rounds.kept(), with advantages against rounds.statistics(); charge rounds.rollouts to
    the run
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from gdro.core.errors import OptionError, PlanError
from gdro.core.prompts import check_ids
from gdro.core.ragged import from_rewards
from gdro.core.types import Floats, Ints, Rewards

Rule = Literal["balanced", "positive_focused"]


def finished(positive: Ints, negative: Ints, keep: int, rule: Rule) -> np.ndarray:
    """(M,) bool: prompts that need no further round."""
    if rule == "positive_focused":
        return positive >= 1
    return (positive >= keep // 2) & (negative >= keep - keep // 2)


def balanced_choice(rewards: Floats, keep: int, threshold: float) -> Ints:
    """Places of the rollouts to train on: half above the threshold where possible, earliest first,
    in rising order."""
    positive, negative = np.flatnonzero(rewards > threshold), np.flatnonzero(rewards <= threshold)
    total = min(keep, len(rewards))
    right = min(total // 2, len(positive))
    wrong = min(total - right, len(negative))
    right = min(total - wrong, len(positive))
    return np.sort(np.concatenate([positive[:right], negative[:wrong]]))


class ReinforceAda:
    """One training step's rounds for a batch of prompts.

    Attributes:
        active: prompts to generate `round_size` rollouts for next; empty when the step is done.
        rollouts: all that were generated.
        rounds: rounds so far.
    """

    def __init__(
        self,
        prompt_ids: Sequence[str],
        rule: Rule = "balanced",
        keep: int = 4,
        round_size: int = 8,
        most_rounds: int = 4,
        threshold: float = 0.7,
    ) -> None:
        if rule not in ("balanced", "positive_focused"):
            raise OptionError(f"rule={rule!r} is none of balanced, positive_focused")
        if min(keep, round_size, most_rounds) < 1:
            raise OptionError(
                f"keep={keep}, round_size={round_size} and most_rounds={most_rounds} must be at"
                " least 1"
            )
        self.prompt_ids = check_ids(prompt_ids)
        self.active: list[str] = list(self.prompt_ids)
        self.rule, self.keep, self.round_size = rule, keep, round_size
        self.most_rounds, self.threshold = most_rounds, threshold
        self.rollouts, self.rounds = 0, 0
        self._rewards: dict[str, Floats] = {prompt_id: np.empty(0) for prompt_id in self.prompt_ids}

    def add(self, prompt_ids: Sequence[str], rewards: Rewards) -> None:
        """Take in one round: `round_size` rewards of every active prompt, prompts in any order.

        Raises:
            PlanError: other prompts than the active ones, or another number of rewards.
            PromptIdError, RewardError: as in `Controller.observe`.
        """
        ids = check_ids(prompt_ids)
        groups = from_rewards(ids, rewards)
        if set(ids) != set(self.active) or (groups.counts != self.round_size).any():
            raise PlanError(
                f"a round is {self.round_size} rewards of each of the {len(self.active)} active"
                " prompts"
            )
        for prompt_id, values in zip(ids, groups.split(), strict=True):
            self._rewards[prompt_id] = np.concatenate([self._rewards[prompt_id], values])
        self.rounds += 1
        self.rollouts += int(groups.counts.sum())
        positive = np.array([(self._rewards[i] > self.threshold).sum() for i in self.active])
        seen = np.array([len(self._rewards[i]) for i in self.active])
        over = finished(positive, seen - positive, self.keep, self.rule) | (
            self.rounds >= self.most_rounds
        )
        self.active = [
            prompt_id for prompt_id, end in zip(self.active, over.tolist(), strict=True) if not end
        ]

    def kept(self) -> dict[str, Ints]:
        """For each prompt the places, in order of generation, of the rollouts to train on."""
        return {
            i: balanced_choice(values, self.keep, self.threshold)
            for i, values in self._rewards.items()
        }

    def statistics(self) -> dict[str, tuple[float, float]]:
        """For each prompt mean and population std over all its rollouts.

        Raises:
            PlanError: no round was generated yet.
        """
        if not self.rounds:
            raise PlanError("no round was generated yet; call add first")
        return {
            i: (float(values.mean()), float(values.std())) for i, values in self._rewards.items()
        }
