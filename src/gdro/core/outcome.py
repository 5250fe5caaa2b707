"""What one observed step looked like: the common input of both games, of every peer and of the
metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gdro.core.prompts import Prompts
from gdro.core.ragged import Ragged
from gdro.core.signals import ROUNDING
from gdro.core.types import Bools, Floats, Ints


@dataclass(frozen=True)
class Pending:
    """A plan that waits for its rewards (or, once observed, for its losses).

    Attributes:
        prompts: the M prompts of the batch.
        bins: (M,) bins as planned.
        rollouts: (M,) planned rollouts.
        demand: (B,) rollouts that each bin asked for before the plan was made exact.
        shadow_price: at which the bins asked; NaN without one.
        inclusion: (M,) the chance with which each prompt was let through by a random selector; None
            for 1.
    """

    prompts: Prompts
    bins: Ints
    rollouts: Ints
    demand: Floats
    shadow_price: float = math.nan
    inclusion: Floats | None = None


@dataclass(frozen=True)
class Outcome:
    """A plan with its rewards.

    Attributes:
        plan: what was asked for.
        rewards: raw rewards, M groups.
        unit: the same, rescaled to [0, 1] by the declared reward range.
        correct_threshold: a reward at or above it counts as correct.
        out_of_range: rewards that lay outside the declared range.
        step: number of this observation, the first is 1.
        waiting: plans made after this one whose rewards are still to come.
    """

    plan: Pending
    rewards: Ragged
    unit: Ragged
    correct_threshold: float = 0.5
    out_of_range: int = 0
    step: int = 1
    waiting: int = 0

    @property
    def prompts(self) -> Prompts:
        """The M prompts."""
        return self.plan.prompts

    @property
    def bins(self) -> Ints:
        """(M,) bins as planned."""
        return self.plan.bins

    @property
    def counts(self) -> Ints:
        """(M,) rollouts of each prompt."""
        return self.rewards.counts

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

    @cached_property
    def correct(self) -> Ints:
        """(M,) rollouts with a reward at or above the threshold."""
        return count_correct(self.rewards, self.correct_threshold)


def count_correct(rewards: Ragged, threshold: float) -> Ints:
    """(M,) rewards of each group at or above the threshold, or as near below it as float32 may have
    put them."""
    least = threshold - ROUNDING * max(1.0, abs(threshold))
    return np.add.reduceat((rewards.values >= least).astype(np.int64), rewards.starts)
