"""VIP: rollouts that minimise the predicted variance of the policy gradient.

Source: Nguyen et al., arXiv 2602.01601 (formulas from the paper; no code was released). With g = 4
p (1-p) for rewards of +-1, the variance of prompt i's gradient is proportional to

    rloo      g / (n - 1)      convex for n >= 2
    dr_grpo   g (n - 1) / n^2  convex for n >= 3, rising from n = 1 to 2: more first add noise

Both are then convex, so the greedy choice of the largest fall is the exact integer optimum (proof
in gdro.core.budget); the paper relaxes to real numbers and rounds.

Difference: the paper predicts p by a Gaussian process over prompt embeddings; the core knows no
embeddings, so p comes from each prompt's own posterior (g = 4 E[p (1-p)]).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.controllers.parts.allocators import GainAllocator
from gdro.core.belief import expected_variance
from gdro.core.types import Floats, Ints

Variance = Literal["rloo", "dr_grpo"]


@dataclass(kw_only=True, eq=False)
class VIP(GainAllocator):
    """The plan with the least total variance.

    Attributes:
        form: rloo (needs min_rollouts >= 2) or dr_grpo (needs min_rollouts >= 3).
    """

    form: Variance = "rloo"

    name: ClassVar[str] = "vip"

    def start(self) -> None:
        needed = 2 if self.form == "rloo" else 3
        convex = self.facts.min_rollouts >= needed
        self.require(
            convex, "form", f"needs min_rollouts >= {needed}, where its variance is convex"
        )

    def gains(self, a: Floats, b: Floats) -> Floats:
        arms = np.arange(self.facts.min_rollouts, self.facts.max_rollouts + 1)
        return np.outer(4.0 * expected_variance(a, b), -np.diff(rollout_variance(arms, self.form)))


def rollout_variance(n: Ints, form: Variance) -> Floats:
    """Variance of a prompt's gradient with n rollouts, in units of 4 p (1-p)."""
    return np.asarray(1.0 / (n - 1.0) if form == "rloo" else (n - 1.0) / n**2)
