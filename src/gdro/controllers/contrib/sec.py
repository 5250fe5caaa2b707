"""SEC: a bandit over categories whose reward is the mean absolute advantage; Boltzmann choice.

Source: Chen et al., arXiv 2505.14970: Q_c <- alpha r_c + (1 - alpha) Q_c, r_c the mean |advantage|
of the category's rollouts in this batch; categories drawn with probability softmax(Q / tau). No
code was released; the rule is the paper's, the values alpha 0.5 and tau 1.0 are from memory and not
checked.

Since mean |A| is 2 sqrt(p (1-p)) at success rate p, SEC favours the categories solved half of the
time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.contrib.categories import CategorySelector
from gdro.controllers.contrib.daro import mean_absolute_advantage
from gdro.core.belief import Belief
from gdro.core.outcome import Outcome
from gdro.core.types import Floats


@dataclass(kw_only=True, eq=False)
class SEC(CategorySelector):
    """Attributes:
    value_step: alpha, weight of the newest batch in Q.
    """

    value_step: float = 0.5

    name: ClassVar[str] = "sec"

    def start(self) -> None:
        super().start()
        self.require(0.0 < self.value_step <= 1.0, "value_step", "must lie in (0, 1]")
        self.state = {"value": np.zeros(self.categories)}

    def scores(self) -> Floats:
        return np.asarray(self.state["value"])

    def update(self, outcome: Outcome, before: Belief) -> None:
        category, counts = self.categories_of(outcome), outcome.counts
        total = mean_absolute_advantage(outcome) * counts
        rollouts = np.bincount(category, weights=counts, minlength=self.categories)
        newest = np.bincount(category, weights=total, minlength=self.categories) / np.maximum(
            rollouts, 1.0
        )
        value = self.state["value"]
        moved = (1.0 - self.value_step) * value + self.value_step * newest
        self.state["value"] = np.where(rollouts > 0, moved, value)
