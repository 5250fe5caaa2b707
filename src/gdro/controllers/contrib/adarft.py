"""AdaRFT: keep a target difficulty and train on the prompts nearest to it.

Source: Shi et al., arXiv 2504.05520; rule and values read in the release: beta 0.5, alpha 2, eta
50, difficulties 0 to 100, target starting at 0:

    T <- clip(T + eta tanh(alpha (R - beta)), 0, 100)          R: mean reward of the step

Differences: the release reads a fixed difficulty of each prompt from a dataset; here it is 100 (1 -
success estimate) of the controller's own estimator, and 50 for an unseen prompt. Measured on the
learner itself, the reward at target T is about 1 - T/100, so T settles near 100 (1 - beta): AdaRFT
then asks for success rates near beta. Ties, of which the release takes the first in file order, are
broken by (seed, step, prompt id).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.part import Batch, Selector
from gdro.core.belief import Belief
from gdro.core.hashing import to_unit
from gdro.core.outcome import Outcome
from gdro.core.types import Floats, Metric

HARDEST = 100.0
TIE = 1e-6
"""Ranks by distance first: a random part of at most 1e-6 decides between equal ones."""


@dataclass(kw_only=True, eq=False)
class AdaRFT(Selector):
    """Attributes:
    target_reward: beta, the mean reward to hold.
    sensitivity: alpha.
    target_step: eta, in units of difficulty.
    """

    target_reward: float = 0.5
    sensitivity: float = 2.0
    target_step: float = 50.0

    name: ClassVar[str] = "adarft"

    def start(self) -> None:
        self.state = {"target": 0.0}

    def rank(self, batch: Batch) -> Floats:
        rate = batch.belief.rate
        difficulty = HARDEST * (1.0 - np.where(np.isnan(rate), 0.5, rate))
        return np.asarray(np.abs(difficulty - self.state["target"]) + TIE * to_unit(batch.keys))

    def update(self, outcome: Outcome, before: Belief) -> None:
        reward = float(outcome.unit.values.mean())
        moved = self.state["target"] + self.target_step * math.tanh(
            self.sensitivity * (reward - self.target_reward)
        )
        self.state["target"] = min(max(moved, 0.0), HARDEST)

    def metrics(self) -> dict[str, Metric]:
        return {"target_difficulty": self.state["target"]}
