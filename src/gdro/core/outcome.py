"""What one observed step looked like: the common input of both games, of every peer and of the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gdro.core.difficulty import Visits
from gdro.core.ragged import Ragged
from gdro.core.signals import ROUNDING
from gdro.core.types import Bools, Floats, Ints


@dataclass(frozen=True)
class Pending:
    """A plan that waits for its rewards (or, once observed, for its losses).

    Attributes:
        prompt_ids: (M,) the batch.
        rows: (M,) its rows in the prompt table.
        bins: (M,) bins as planned.
        rollouts: (M,) planned rollouts.
        demand: (B,) rollouts that each bin asked for before the plan was made exact.
    """

    prompt_ids: tuple[str, ...]
    rows: Ints
    bins: Ints
    rollouts: Ints
    demand: Floats

    def take(self, order: Ints) -> Pending:
        """The same plan with its prompts in another order."""
        ids = tuple(self.prompt_ids[place] for place in order)
        return Pending(ids, self.rows[order], self.bins[order], self.rollouts[order], self.demand)


@dataclass(frozen=True)
class Outcome:
    """A plan with its rewards.

    Attributes:
        plan: what was asked for.
        rewards: raw rewards, M groups.
        unit: the same, rescaled to [0, 1] by the declared reward range.
        correct: (M,) rollouts at or above the correct threshold.
        out_of_range: rewards that lay outside the declared range.
    """

    plan: Pending
    rewards: Ragged
    unit: Ragged
    correct: Ints
    out_of_range: int

    @property
    def bins(self) -> Ints:
        """(M,) bins as planned."""
        return self.plan.bins

    @cached_property
    def mean(self) -> Floats:
        """(M,) mean rescaled reward."""
        return self.unit.mean()

    @cached_property
    def squares(self) -> Floats:
        """(M,) sum of squared deviations of the rescaled rewards."""
        return self.unit.sum_of_squares()

    @cached_property
    def live(self) -> Bools:
        """(M,) groups whose rewards differ: only they have a gradient."""
        return ~self.rewards.constant()

    @property
    def visits(self) -> Visits:
        """What the difficulty classifier takes in."""
        return Visits(self.correct, self.rewards.counts, self.mean)


def count_correct(rewards: Ragged, threshold: float) -> Ints:
    """(M,) rewards of each group at or above the threshold, or as near below it as float32 may have put them."""
    least = threshold - ROUNDING * max(1.0, abs(threshold))
    return np.add.reduceat((rewards.values >= least).astype(np.int64), rewards.starts)
