"""DAPO's dynamic sampling: drop groups without a gradient after generation, generate more prompts
until the batch is full.

Source: Yu et al., arXiv 2503.14476; rule as in verl's DAPO recipe (from memory: groups whose
rewards all agree are dropped, the first `batch` of the others are kept, at most 10 rounds, an error
after that). It is not budget-neutral: `rollouts` counts everything that was generated, dropped
groups too.

It needs an engine that generates several times a step. The engine's part:

    rounds = DynamicSampling(batch=256)
    while not rounds.done:
        ids = next prompts from the data, e.g. rounds.missing of them or a whole batch
        rounds.add(ids, score(generate(ids)))
    controller.plan / observe are not asked: train on rounds.kept(), charge rounds.rollouts to the
    run
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.core.errors import OptionError, PlanError
from gdro.core.prompts import check_ids
from gdro.core.ragged import Ragged, from_rewards
from gdro.core.types import Bools, Floats, Rewards


def keep(rewards: Ragged) -> Bools:
    """(M,) the groups whose rewards differ: for binary rewards those with 0 < p < 1."""
    return ~rewards.constant()


class DynamicSampling:
    """One training step's rounds of generation.

    Args:
        batch: groups with a gradient to collect.
        most_rounds: rounds after which `add` refuses.

    Attributes:
        rollouts: all that were generated.
        dropped: groups without a gradient.
        rounds: rounds so far.
    """

    def __init__(self, batch: int, most_rounds: int = 10) -> None:
        if batch < 1 or most_rounds < 1:
            raise OptionError(f"batch={batch} and most_rounds={most_rounds} must be at least 1")
        self.batch, self.most_rounds = batch, most_rounds
        self.rollouts, self.dropped, self.rounds = 0, 0, 0
        self._kept: dict[str, Floats] = {}

    @property
    def missing(self) -> int:
        """Groups still to collect."""
        return max(self.batch - len(self._kept), 0)

    @property
    def done(self) -> bool:
        """Whether the batch is full, or the rounds are used up."""
        return not self.missing or self.rounds >= self.most_rounds

    def add(self, prompt_ids: Sequence[str], rewards: Rewards) -> None:
        """Take in one round of generation.

        Raises:
            PlanError: the step is done, or a prompt was kept in an earlier round.
            PromptIdError, RewardError: as in `Controller.observe`.
        """
        ids = check_ids(prompt_ids)
        groups = from_rewards(ids, rewards)
        if self.done:
            raise PlanError(
                f"after {self.rounds} rounds the step is done; start a new DynamicSampling"
            )
        again = [prompt_id for prompt_id in ids if prompt_id in self._kept]
        if again:
            raise PlanError(
                f"prompt {again[0]!r} was already kept in this step; draw other prompts"
            )
        self.rounds += 1
        self.rollouts += int(groups.counts.sum())
        live, values = keep(groups), groups.split()
        self.dropped += int(len(ids) - live.sum())
        for place in np.flatnonzero(live)[: self.missing].tolist():
            self._kept[ids[place]] = values[place]

    def kept(self) -> tuple[list[str], list[Floats]]:
        """The prompts to train on and their rewards, in order of generation; too few when the
        rounds ran out."""
        return list(self._kept), list(self._kept.values())
