"""VIP: rollouts that minimise the predicted variance of the policy gradient.

Source: Nguyen et al., arXiv 2602.01601 (formulas from the paper; no code was released). With g = 4 p (1-p) for rewards
of +-1, the variance of prompt i's gradient is proportional to

    rloo      g / (n - 1)            convex for n >= 2
    dr_grpo   g (n - 1) / n^2        convex for n >= 3, and rising from n = 1 to 2: more rollouts first add noise

Both are then convex, so the greedy choice of the largest fall is the exact integer optimum (proof in gdro.core.greedy);
the paper relaxes to real numbers and rounds.

Difference: the paper predicts p by a Gaussian process over prompt embeddings; the core knows no embeddings, so p comes
from each prompt's own posterior (g = 4 E[p (1-p)]).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.controllers.peers.posterior import PosteriorController, expected_variance, seen_places
from gdro.core.errors import OptionError
from gdro.core.greedy import greedy_allocation
from gdro.core.hashing import Keys
from gdro.core.signals import bin_demand
from gdro.core.types import Floats, Ints

Estimator = Literal["rloo", "dr_grpo"]


@dataclass(kw_only=True, eq=False)
class VIP(PosteriorController):
    """The plan with the least total variance.

    Attributes:
        estimator: rloo (needs min_rollouts >= 2) or dr_grpo (needs min_rollouts >= 3).
    """

    estimator: Estimator = "rloo"

    name: ClassVar[str] = "vip"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.estimator not in ("rloo", "dr_grpo"):
            raise OptionError(f"estimator={self.estimator!r} is none of rloo, dr_grpo")
        needed = 2 if self.estimator == "rloo" else 3
        if self.min_rollouts < needed:
            raise OptionError(
                f"estimator={self.estimator!r} needs min_rollouts >= {needed}, where its variance is convex"
            )

    def _allocate(self, ids: tuple[str, ...], rows: Ints, bins: Ints, keys: Keys) -> tuple[Ints, Floats]:
        seen = seen_places(bins)
        rollouts = np.full(len(bins), self.mean_rollouts)
        if seen.size:
            scale = 4.0 * expected_variance(*self.posterior(rows[seen]))
            variance = rollout_variance(np.arange(self.min_rollouts, self.max_rollouts + 1), self.estimator)
            spare = (self.mean_rollouts - self.min_rollouts) * seen.size
            gains = np.outer(scale, -np.diff(variance))
            rollouts[seen] = self.min_rollouts + greedy_allocation(gains, spare, keys[seen])
        return rollouts, bin_demand(rollouts, bins, self.bins, self.mean_rollouts)


def rollout_variance(n: Ints, estimator: Estimator) -> Floats:
    """Variance of a prompt's gradient with n rollouts, in units of 4 p (1-p)."""
    return np.asarray(1.0 / (n - 1.0) if estimator == "rloo" else (n - 1.0) / n**2)
