"""HORA: rollouts that maximise the expected number of prompts that are solved at least once more.

Source: Wang et al., arXiv 2605.07114. Hit utility of m more rollouts of a prompt whose success rate
has the posterior Beta(a, b):

    H(m) = 1 - E[(1-p)^m] = 1 - prod_{j<m} (b + j) / (a + b + j)

Its gains E[(1-p)^m p] fall with m, so the greedy choice of the largest is optimal (proof in
gdro.core.budget). The paper draws a uniform first round, takes a, b = 1 + right, 1 + wrong (prior
Beta(1, 1)) and allots what is left of the budget, at most 32 rollouts a prompt.

`rounds: hora` of the TRL engine is the paper's, the first round included
(`gdro.engines.trl.rounds`). As an allocator, here, it is ours: what was seen of the prompt in its
earlier visits, aged, stands in the place of the first round, so a step generates once; m counts
from min_rollouts, which every prompt gets, and max_rollouts is the cap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.parts.allocators import GainAllocator
from gdro.core.types import Floats


@dataclass(kw_only=True, eq=False)
class HORA(GainAllocator):
    """The plan with the most expected hits, among all with the exact total."""

    name: ClassVar[str] = "hora"

    def gains(self, a: Floats, b: Floats) -> Floats:
        return hit_gains(a, b, self.facts.min_rollouts, self.facts.max_rollouts)


def hit_gains(a: Floats, b: Floats, low: int, high: int) -> Floats:
    """(M, high - low) H(n + 1) - H(n) = E[(1-p)^n p] for n = low .. high - 1."""
    steps, total = np.arange(max(high - 1, 0)), (a + b)[:, None]
    missed = np.cumprod((b[:, None] + steps) / (total + steps), axis=1)
    missed = np.concatenate([np.ones((len(a), 1)), missed], axis=1)[:, low:high]
    return np.asarray(missed * a[:, None] / (total + np.arange(low, high)))
