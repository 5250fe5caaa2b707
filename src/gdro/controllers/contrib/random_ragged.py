"""Negative control: a random ragged plan with the exact total. What beats uniform must beat this
too.

Demands are independent exponential variables of (seed, step, prompt id), i.e. the budget is cut at
uniformly random places before the bounds apply; they know nothing of the prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.part import Allocation, Batch
from gdro.controllers.parts.allocators import RaggedAllocator
from gdro.core.hashing import exponentials, step_keys
from gdro.core.types import UNSEEN


@dataclass(kw_only=True, eq=False)
class RandomRagged(RaggedAllocator):
    """Ragged like the informed methods, informed of nothing."""

    name: ClassVar[str] = "random_ragged"

    def allocate(self, batch: Batch) -> Allocation:
        seen = np.flatnonzero(batch.belief.bins != UNSEEN)
        wanted = exponentials(step_keys(batch.keys[seen], self.facts.seed, 1))
        return Allocation(self.by_demand(wanted, seen, batch))
