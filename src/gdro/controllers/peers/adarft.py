"""AdaRFT: keep a target difficulty and train on the prompts nearest to it.

Source: Shi et al., arXiv 2504.05520; rule and values read in the release: beta 0.5, alpha 2, eta 50, difficulties 0 to
100, target starting at 0:

    T <- clip(T + eta tanh(alpha (R - beta)), 0, 100)          R: mean reward of the step

Differences: the release reads a fixed difficulty of each prompt from a dataset; here it is 100 (1 - success estimate)
of the controller's own classifier, and 50 for an unseen prompt. Measured on the learner itself, the reward at target T
is about 1 - T/100, so T settles near 100 (1 - beta): AdaRFT then asks for success rates near beta. Ties, of which the
release takes the first in file order, are broken by (seed, step, prompt id).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.base import Controller
from gdro.core.hashing import Keys, to_unit
from gdro.core.outcome import Outcome
from gdro.core.state import State, read_float
from gdro.core.types import Floats, Ints, Metric

HARDEST = 100.0
TIE = 1e-6
"""Ranks by distance first: a random part of at most 1e-6 decides between equal ones."""


@dataclass(kw_only=True, eq=False)
class AdaRFT(Controller):
    """Selects; rollouts uniform, weights 1.

    Attributes:
        target_reward: beta, the mean reward to hold.
        sensitivity: alpha.
        target_step: eta, in units of difficulty.
    """

    target_reward: float = 0.5
    sensitivity: float = 2.0
    target_step: float = 50.0

    name: ClassVar[str] = "adarft"
    selects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.target = 0.0

    def difficulty(self, rows: Ints) -> Floats:
        """(N,) 0 to 100; 50 for a prompt without a visit."""
        estimate = np.full(len(rows), np.nan)
        known = rows >= 0
        estimate[known] = self.classifier.table.column("estimate")[rows[known]]
        return HARDEST * (1.0 - np.where(np.isnan(estimate), 0.5, estimate))

    def _rank(self, ids: tuple[str, ...], rows: Ints, keys: Keys) -> Floats:
        return np.abs(self.difficulty(rows) - self.target) + TIE * to_unit(keys)

    def _learn(self, outcome: Outcome) -> None:
        reward = float(outcome.unit.values.mean())
        moved = self.target + self.target_step * math.tanh(self.sensitivity * (reward - self.target_reward))
        self.target = min(max(moved, 0.0), HARDEST)

    def _method_metrics(self) -> dict[str, Metric]:
        return {"target_difficulty": self.target}

    def _state(self) -> State:
        return {"target": self.target}

    def _load_state(self, state: State) -> None:
        self.target = read_float(state, "target")
