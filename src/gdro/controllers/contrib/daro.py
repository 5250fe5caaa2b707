"""DARO: every group of prompts with the same success rate contributes the same loss, w = 1 / L.

Source: Zhou et al., arXiv 2510.09001; the rule w = 1 / L read in the released code. Minimising
sum_g (w_g L_g - log w_g) over the weights gives w_g = 1 / L_g, with L_g the mean loss of group g;
groups without a gradient are left out. It equalises where GDRO sharpens.

Differences: the loss of a group is taken as its mean absolute advantage (of `advantage`), because
on-policy the signed surrogate is exactly 0; groups are the estimator's bins, applied to the success
rate seen in THIS batch (rates are ragged here, with up to 12 rollouts); and the weights are at
their optimum at once instead of following an optimiser. A prompt's weight is 1 / (size_g L_g),
rescaled to mean 1 over the prompts with a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.controllers.part import Weigher
from gdro.core.belief import Belief
from gdro.core.difficulty import bins_at
from gdro.core.outcome import Outcome
from gdro.core.types import Floats

Corrected = Literal["grpo", "dr_grpo"]
"""The engine's advantages that a weigher can correct for."""
FAINT = 1e-9
"""Rewards so close together that a group's absolute advantages sum to less count as this."""


@dataclass(kw_only=True, eq=False)
class DARO(Weigher):
    """Weights that equalise the groups' sums of absolute advantages.

    Attributes:
        advantage: what the engine computes, grpo (mean |A| = 2 sqrt(p (1-p))) or dr_grpo (2 p
            (1-p)); None: as the run says, alone grpo.
    """

    advantage: Corrected | None = None

    name: ClassVar[str] = "daro"

    @property
    def from_run(self) -> tuple[str, ...]:
        return ("advantage",)

    def weigh(self, outcome: Outcome, before: Belief) -> Floats:
        weights = np.ones(len(outcome.bins))
        live = outcome.live
        if not live.any():
            return weights
        group = bins_at(self.facts.edges, outcome.mean[live])
        size = mean_absolute_advantage(outcome, self.advantage or "grpo")[live]
        total = np.bincount(group, weights=size, minlength=self.facts.bins)
        share = 1.0 / np.maximum(total, FAINT)[group]
        weights[live] = share / share.mean()
        return weights


def mean_absolute_advantage(outcome: Outcome, advantage: str = "grpo") -> Floats:
    """(M,) mean over a prompt's rollouts of |r - mean|, over the population std for `grpo`; 0 for a
    dead group."""
    unit = outcome.unit
    deviation = unit.map(np.abs(unit.values - unit.spread(unit.mean()))).mean()
    if advantage != "grpo":
        return np.where(outcome.live, deviation, 0.0)
    std = np.sqrt(outcome.squares / unit.counts)
    usable = outcome.live & (std > 0.0)
    return np.divide(deviation, std, out=np.zeros(len(std)), where=usable)
