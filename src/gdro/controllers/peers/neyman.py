"""Neyman allocation by prompt: rollouts proportional to the standard deviation of each prompt's own reward.

Source: Neyman (1934); the square-root law of arXiv 2601.19280 (eqs. 28-31) without bins. The binned form is `sqrt_law`.
Minimises sum_i v_i / n_i under the exact total, v_i the posterior expectation of p_i (1 - p_i).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.peers.posterior import PosteriorController, bin_demand, expected_variance, seen_places
from gdro.core.budget import exact_budget
from gdro.core.hashing import Keys
from gdro.core.types import Floats, Ints


@dataclass(kw_only=True, eq=False)
class Neyman(PosteriorController):
    """n_i proportional to sqrt(E[p_i (1 - p_i)]), within the bounds, with the exact total."""

    name: ClassVar[str] = "neyman"

    def _allocate(self, rows: Ints, bins: Ints, keys: Keys) -> tuple[Ints, Floats]:
        seen = seen_places(bins)
        rollouts = np.full(len(bins), self.mean_rollouts)
        if seen.size:
            wanted = np.sqrt(expected_variance(*self.posterior(rows[seen])))
            total = self.mean_rollouts * seen.size
            rollouts[seen] = exact_budget(wanted, total, self.min_rollouts, self.max_rollouts, keys[seen])
        return rollouts, bin_demand(rollouts, bins, self.bins, self.mean_rollouts)
