"""Weighers that state their advantage as w (r - mean): MaxRL, BBG, CurveRL; they differ in w alone.

Engines multiply a prompt's advantages by its weight, so with

    grpo      (r - mean) / std    the weight is w std
    dr_grpo    r - mean           the weight is w

the product is w (r - mean), whatever advantage the engine computes, up to GRPO's epsilon beside the
std (relative error epsilon / std < 4e-4 at n <= 12). Rewards are rescaled to [0, 1] first. Groups
without a gradient keep weight 1, which multiplies 0. Engines take positive weights: a weight of
exactly 0 is SHUT of the others' scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.contrib.daro import Corrected
from gdro.controllers.part import Weigher
from gdro.core.belief import Belief
from gdro.core.outcome import Outcome
from gdro.core.types import Floats, Ints, Metric

SHUT = 1e-9
"""Stands for a weight of 0: its gradient is below the rounding of a step in single precision."""
EPSILON = 1e-6
"""Least mean reward that MaxRL divides by, as in its release."""


@dataclass(kw_only=True, eq=False)
class Centred(Weigher):
    """Weights that make the engine's advantage w (r - mean). Subclasses give w, `factors`.

    Attributes:
        advantage: what the engine computes, grpo or dr_grpo; None: as the run says, alone grpo.
        ddof: of the engine's standard deviation, 0 or 1; without effect for dr_grpo. None: as the
            run says, alone 0.
    """

    advantage: Corrected | None = None
    ddof: int | None = None

    @property
    def from_run(self) -> tuple[str, ...]:
        return ("advantage",) if self.advantage == "dr_grpo" else ("advantage", "ddof")

    def start(self) -> None:
        self.require(self.ddof in (None, 0, 1), "ddof", "must be 0 (population) or 1 (sample)")

    def factors(self, outcome: Outcome) -> Floats:
        """(M,) w of each prompt, finite and at least 0; that of a group without a gradient is not
        read."""
        raise NotImplementedError

    def weigh(self, outcome: Outcome, before: Belief) -> Floats:
        counts = outcome.unit.counts
        scale = np.ones(len(counts))
        if self.advantage != "dr_grpo":
            scale = np.sqrt(outcome.squares / np.maximum(counts - (self.ddof or 0), 1))
        usable = outcome.live & (outcome.mean > 0.0) & (scale > 0.0)
        factors = np.maximum(self.factors(outcome), SHUT)
        return np.where(usable, scale * factors, 1.0)


@dataclass(kw_only=True, eq=False)
class MaxRL(Centred):
    """MaxRL: divide the advantage by the success rate, (r - mean) / mean.

    Source: Tajwar et al., arXiv 2602.02710; advantage read in the released code (there with 1e-6
    added to the mean). In expectation over many rollouts it is the gradient of the maximum
    likelihood log p, that is of all pass@k at once: grad log p = grad p / p.

    With GRPO's advantage the weight is std / mean, for binary rewards sqrt((1-p) / p); with Dr.
    GRPO's it is 1 / mean. Rewards of +-1 could have a mean of 0 or below, which is why they are
    rescaled first.
    """

    name: ClassVar[str] = "maxrl"

    def factors(self, outcome: Outcome) -> Floats:
        return np.asarray(1.0 / np.maximum(outcome.mean, EPSILON))


@dataclass(kw_only=True, eq=False)
class BBG(Centred):
    """BBG: weigh a prompt by the posterior mean of k (1-p)^(k-1), the slope of its pass@k.

    Source: arXiv 2606.15455, the formula second hand (the paper's text and code were not to be
    had). grad pass@k = k (1-p)^(k-1) grad p. With m right of n rollouts and a uniform prior p has
    the posterior Beta(1 + m, 1 + n - m), under which

        u = E[k (1-p)^(k-1)] = k prod_{0<j<k} (n - m + j) / (n + 1 + j)

    which is 4.5, 2.4, 1.2, .554, .231 for m = 0..4 at n = k = 8. A prompt with u below gate (n + 1)
    is left out. Small groups do not know p; where the plug-in k (1 - m/n)^(k-1) jumps from k to
    near 0, u is smooth.

    Ours: the gate is read as a weight of 0 below it; u multiplies r - mean, the gradient of p;
    right is a reward at or above `correct_threshold`.

    Attributes:
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


@dataclass(kw_only=True, eq=False)
class CurveRL(Centred):
    """CurveRL: weigh a prompt by the reverse hazard rate of its success rate among recent prompts.

    Source: Sun et al., arXiv 2605.24331 (Algorithm 1); read in the released code. The utility E[log
    F(p)] of a prompt's rank F among the success rates of late has the slope

        w(p) = f(p) / F(p) = mass of p's bin / mass of that bin and all lower ones

    so the hardest rate that occurs weighs 1, and an easier one its share of what is not easier. A =
    w(p) (r - mean), with N + 1 bins for N rollouts. F comes from the prompts with 0 < p < 1 of the
    last 10 batches, this one not among them; while there are none, from this batch. A bin that the
    window lacks weighs 0, as in the release, which uses no standard deviation.

    Ours: p is the mean reward, so that graded rewards have a rate too (there a reward is right or
    wrong). The bins are max_rollouts + 1, the same for every batch, so that ragged batches share
    them. Rates of n <= max_rollouts right or wrong rollouts fall into bins of their own, as the
    release's do; two different n may share a bin.

    Attributes:
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


def pass_slope(right: Ints, rollouts: Ints, k: int) -> Floats:
    """(M,) posterior mean of k (1-p)^(k-1) after `right` of `rollouts`, with a uniform prior."""
    j = np.arange(1, k)[:, None]
    wrong = rollouts - right
    return np.asarray(k * ((wrong + j) / (rollouts + 1.0 + j)).prod(axis=0))


def reverse_hazard(counts: Ints) -> Floats:
    """(B,) mass of each bin over the mass up to and with it; 0 for an empty bin."""
    below = np.cumsum(counts)
    return np.divide(counts, below, out=np.zeros(len(counts)), where=below > 0)
