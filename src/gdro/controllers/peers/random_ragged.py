"""Negative control: a random ragged plan with the exact total. What beats uniform must beat this too.

Demands are independent exponential variables of (seed, step, prompt id), i.e. the budget is cut at uniformly random
places before the bounds apply; they know nothing of the prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.base import Controller
from gdro.controllers.peers.posterior import seen_places
from gdro.core.budget import exact_budget
from gdro.core.hashing import Keys, exponentials, step_keys
from gdro.core.signals import bin_demand
from gdro.core.types import Floats, Ints


@dataclass(kw_only=True, eq=False)
class RandomRagged(Controller):
    """Ragged like the informed methods, informed of nothing."""

    name: ClassVar[str] = "random_ragged"

    def _allocate(self, ids: tuple[str, ...], rows: Ints, bins: Ints, keys: Keys) -> tuple[Ints, Floats]:
        seen = seen_places(bins)
        rollouts = np.full(len(bins), self.mean_rollouts)
        if seen.size:
            wanted = exponentials(step_keys(keys[seen], self.seed, 1))
            total = self.mean_rollouts * seen.size
            rollouts[seen] = exact_budget(wanted, total, self.min_rollouts, self.max_rollouts, keys[seen])
        return rollouts, bin_demand(rollouts, bins, self.bins, self.mean_rollouts)
