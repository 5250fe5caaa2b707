"""SEC: a bandit over categories whose reward is the mean absolute advantage; Boltzmann choice.

Source: Chen et al., arXiv 2505.14970: Q_c <- alpha r_c + (1 - alpha) Q_c, r_c the mean |advantage| of the category's
rollouts in this batch; categories drawn with probability softmax(Q / tau). No code was released; the rule is the
paper's, the values alpha 0.5 and tau 1.0 are from memory and not checked.

Since mean |A| is 2 sqrt(p (1-p)) at success rate p, SEC favours the categories solved half of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.peers.categories import CategoryController
from gdro.controllers.peers.daro import mean_absolute_advantage
from gdro.core.errors import OptionError
from gdro.core.outcome import Outcome
from gdro.core.state import State, read_array
from gdro.core.types import Floats


@dataclass(kw_only=True, eq=False)
class SEC(CategoryController):
    """Selects; rollouts uniform, weights 1.

    Attributes:
        value_step: alpha, weight of the newest batch in Q.
    """

    value_step: float = 0.5

    name: ClassVar[str] = "sec"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.value_step <= 1.0:
            raise OptionError(f"value_step={self.value_step} must lie in (0, 1]")
        self.value = np.zeros(self.categories)

    def _scores(self) -> Floats:
        return self.value

    def _learn(self, outcome: Outcome) -> None:
        category = self._enter(outcome)
        counts = outcome.unit.counts
        total = mean_absolute_advantage(outcome) * counts
        rollouts = np.bincount(category, weights=counts, minlength=self.categories)
        newest = np.bincount(category, weights=total, minlength=self.categories) / np.maximum(rollouts, 1.0)
        moved = (1.0 - self.value_step) * self.value + self.value_step * newest
        self.value = np.where(rollouts > 0, moved, self.value)

    def _state(self) -> State:
        return super()._state() | {"value": self.value.copy()}

    def _load_state(self, state: State) -> None:
        super()._load_state(state)
        self.value = read_array(state, "value", self.value)
