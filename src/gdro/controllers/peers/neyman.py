"""Neyman allocation by prompt: rollouts by the standard deviation of each prompt's own reward.

Source: Neyman (1934); the square-root law of arXiv 2601.19280 (eqs. 28-31) without bins. The binned form is `sqrt_law`.
Minimises sum_i v_i / n_i under bounds and the exact total, v_i the posterior expectation of p_i (1 - p_i). Over real
numbers the answer is n_i proportional to sqrt(v_i); over whole ones v / n is convex, so the greedy choice of the
largest fall v_i / (n (n + 1)) is the exact optimum (proof in gdro.core.greedy; Wright, 2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.peers.posterior import PosteriorController, expected_variance, seen_places
from gdro.core.greedy import greedy_allocation
from gdro.core.hashing import Keys
from gdro.core.signals import bin_demand
from gdro.core.types import Floats, Ints


@dataclass(kw_only=True, eq=False)
class Neyman(PosteriorController):
    """The plan with the least variance of the batch's mean reward, among all with the exact total."""

    name: ClassVar[str] = "neyman"

    def _allocate(self, ids: tuple[str, ...], rows: Ints, bins: Ints, keys: Keys) -> tuple[Ints, Floats]:
        seen = seen_places(bins)
        rollouts = np.full(len(bins), self.mean_rollouts)
        if seen.size:
            variance = expected_variance(*self.posterior(rows[seen]))
            n = np.arange(self.min_rollouts, self.max_rollouts)
            spare = (self.mean_rollouts - self.min_rollouts) * seen.size
            gains = np.outer(variance, 1.0 / (n * (n + 1.0)))
            rollouts[seen] = self.min_rollouts + greedy_allocation(gains, spare, keys[seen])
        return rollouts, bin_demand(rollouts, bins, self.bins, self.mean_rollouts)
