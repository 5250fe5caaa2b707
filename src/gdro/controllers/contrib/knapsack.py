"""Knapsack RL: rollouts as a knapsack, each prompt's value being the chance of a gradient times
what it teaches.

Source: Li et al., arXiv 2509.25849; value function read in the released code. It maximises sum_i
v(n_i, p_i) with

    v(n, p) = (1 - p^n - (1-p)^n) * p (1-p)^2

by dynamic programming. v is concave in n: its gain v(n+1) - v(n) = p (1-p)^2 (p^n (1-p) + (1-p)^n
p) falls with n. So the greedy choice is optimal (proof in gdro.core.budget), at the cost of one
partition.

Differences: p is the mean of the prompt's posterior (the paper: its last success rate, from
memory), so it never is exactly 0 or 1 and every prompt keeps some value; bounds and total are those
of every controller here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.parts.allocators import GainAllocator
from gdro.core.types import Floats


@dataclass(kw_only=True, eq=False)
class Knapsack(GainAllocator):
    """The plan with the largest total value among all with the exact total."""

    name: ClassVar[str] = "knapsack"

    def gains(self, a: Floats, b: Floats) -> Floats:
        return knapsack_gains(a / (a + b), self.facts.min_rollouts, self.facts.max_rollouts)


def knapsack_gains(p: Floats, low: int, high: int) -> Floats:
    """(M, high - low) v(n+1, p) - v(n, p) for n = low .. high - 1."""
    n = np.arange(low, high)
    hit, miss = p[:, None], 1.0 - p[:, None]
    return hit * miss**2 * (hit**n * miss + miss**n * hit)
