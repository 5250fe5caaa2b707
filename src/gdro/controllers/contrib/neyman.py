"""Neyman allocation by prompt: rollouts by the standard deviation of each prompt's own reward.

Source: Neyman (1934); the square-root law of arXiv 2601.19280 (eqs. 28-31) without bins. The binned
form is `sqrt_law`. Minimises sum_i v_i / n_i under bounds and the exact total, v_i the posterior
expectation of p_i (1 - p_i). Over real numbers the answer is n_i proportional to sqrt(v_i); over
whole ones v / n is convex, so the greedy choice of the largest fall v_i / (n (n + 1)) is the exact
optimum (proof in gdro.core.budget; Wright, 2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.parts.allocators import GainAllocator
from gdro.core.belief import expected_variance
from gdro.core.types import Floats


@dataclass(kw_only=True, eq=False)
class Neyman(GainAllocator):
    """The plan with the least variance of the batch's mean reward, among all with the exact
    total."""

    name: ClassVar[str] = "neyman"

    def gains(self, a: Floats, b: Floats) -> Floats:
        n = np.arange(self.facts.min_rollouts, self.facts.max_rollouts)
        return np.outer(expected_variance(a, b), 1.0 / (n * (n + 1.0)))
