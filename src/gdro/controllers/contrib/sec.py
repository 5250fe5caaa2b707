"""SEC: a bandit over categories whose reward is the mean absolute advantage; Boltzmann choice.

Source: Chen et al., arXiv 2505.14970: Q_c <- alpha r_c + (1 - alpha) Q_c, r_c the mean |advantage|
of the category's rollouts in this batch; categories drawn with probability softmax(Q / tau). The
rule is the paper's; alpha 0.5 in all its experiments, and tau by task: 1.0 (Countdown), 0.4 (math),
0.2 (two-dimensional puzzles), read in a copy of its
release's README. The default tau is Countdown's;
mean |A| lies in [0, 1], so at 1.0 no category is drawn more than e times as often as another.

Since mean |A| is 2 sqrt(p (1-p)) at success rate p, SEC favours the categories solved half of the
time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.contrib.categories import Boltzmann
from gdro.controllers.contrib.daro import mean_absolute_advantage
from gdro.core.belief import Belief
from gdro.core.outcome import Outcome
from gdro.core.types import Floats


@dataclass(kw_only=True, eq=False)
class SEC(Boltzmann):
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
