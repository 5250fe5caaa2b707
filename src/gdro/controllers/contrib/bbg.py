"""BBG: weigh a prompt by the posterior mean of k (1-p)^(k-1), the slope of its pass@k.

Source: arXiv 2606.15455, the formula second hand (the paper's text and code were not to be had).
grad pass@k = k (1-p)^(k-1) grad p. With m right of n rollouts and a uniform prior p has the
posterior Beta(1 + m, 1 + n - m), under which

    u = E[k (1-p)^(k-1)] = k prod_{0<j<k} (n - m + j) / (n + 1 + j)

which is 4.5, 2.4, 1.2, .554, .231 for m = 0..4 at n = k = 8. A prompt with u below gate (n + 1) is
left out. Small groups do not know p; where the plug-in k (1 - m/n)^(k-1) jumps from k to near 0, u
is smooth.

Ours: the gate is read as a weight of 0 below it; u multiplies r - mean (the gradient of p),
whatever advantage the engine computes (`centred.py`); right is a reward at or above
`correct_threshold`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.contrib.centred import Centred
from gdro.core.belief import Belief
from gdro.core.outcome import Outcome
from gdro.core.types import Floats, Ints, Metric


@dataclass(kw_only=True, eq=False)
class BBG(Centred):
    """Attributes:
    pass_k: k; None for the mean number of rollouts.
    gate: a prompt with u below gate (n + 1) is left out; 0 lets all through.
    """

    pass_k: int | None = None
    gate: float = 0.01

    name: ClassVar[str] = "bbg"

    def start(self) -> None:
        super().start()
        known = self.pass_k is None or 1 <= self.pass_k <= 1024
        self.require(known, "pass_k", "must lie in 1..1024, or None for mean_rollouts")
        self.require(0.0 <= self.gate < 1.0, "gate", "must lie in [0, 1)")
        self.left_out = 0.0

    def factors(self, outcome: Outcome) -> Floats:
        slope = pass_slope(outcome.correct, outcome.counts, self.pass_k or self.facts.mean_rollouts)
        return np.where(slope < self.gate * (outcome.counts + 1.0), 0.0, slope)

    def update(self, outcome: Outcome, before: Belief) -> None:
        self.left_out = float((self.factors(outcome)[outcome.live] == 0.0).sum()) / len(
            outcome.bins
        )

    def metrics(self) -> dict[str, Metric]:
        return {"gated_share": self.left_out}


def pass_slope(right: Ints, rollouts: Ints, k: int) -> Floats:
    """(M,) posterior mean of k (1-p)^(k-1) after `right` of `rollouts`, with a uniform prior."""
    j = np.arange(1, k)[:, None]
    wrong = rollouts - right
    return np.asarray(k * ((wrong + j) / (rollouts + 1.0 + j)).prod(axis=0))
