"""CurveRL: weigh a prompt by the reverse hazard rate of its success rate among recent prompts.

Source: Sun et al., arXiv 2605.24331 (Algorithm 1); read in the released code. The utility E[log
F(p)] of a prompt's rank F among the success rates of late has the slope

    w(p) = f(p) / F(p) = mass of p's bin / mass of that bin and all lower ones

so the hardest rate that occurs weighs 1, and an easier one its share of what is not easier. A =
w(p) (r - mean), with N + 1 bins for N rollouts. F comes from the prompts with 0 < p < 1 of the last
10 batches, this one not among them; while there are none, from this batch. A bin that the window
lacks weighs 0, as in the release. The release uses no standard deviation: see `centred.py`.

Ours: the bins are max_rollouts + 1, the same for every batch, so that ragged batches share them.
Rates of n <= max_rollouts rollouts fall into bins of their own, as the release's do; two different
n may share a bin.
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
class CurveRL(Centred):
    """Attributes:
    window: batches that the reference looks back on.
    """

    window: int = 10

    name: ClassVar[str] = "curverl"

    def start(self) -> None:
        super().start()
        self.require(1 <= self.window <= 10_000, "window", "must lie in 1..10000")
        self.rate_bins = self.facts.max_rollouts + 1
        counts = np.zeros((self.window, self.rate_bins), np.int64)
        self.state = {"counts": counts, "batches": 0}

    def places(self, outcome: Outcome) -> Ints:
        """(M,) bins of the success rates."""
        places = np.floor(outcome.mean * self.rate_bins + 1e-9).astype(np.int64)
        return np.minimum(places, self.rate_bins - 1)

    def factors(self, outcome: Outcome) -> Floats:
        places = self.places(outcome)
        reference = self.state["counts"].sum(axis=0)
        if not reference.any():
            reference = self._counts(outcome)
        return reverse_hazard(reference)[places]

    def update(self, outcome: Outcome, before: Belief) -> None:
        self.state["counts"][self.state["batches"] % self.window] = self._counts(outcome)
        self.state["batches"] += 1

    def metrics(self) -> dict[str, Metric]:
        return {"reference_prompts": int(self.state["counts"].sum())}

    def _counts(self, outcome: Outcome) -> Ints:
        """(N + 1,) prompts with a gradient by bin."""
        return np.bincount(self.places(outcome)[outcome.live], minlength=self.rate_bins)


def reverse_hazard(counts: Ints) -> Floats:
    """(B,) mass of each bin over the mass up to and with it; 0 for an empty bin."""
    below = np.cumsum(counts)
    return np.divide(counts, below, out=np.zeros(len(counts)), where=below > 0)
