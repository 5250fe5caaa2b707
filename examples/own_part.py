"""A part of your own: prompts that lag behind the others weigh more.

gdro train --set controller=examples/own_part.py:Behind --set controller.boost=4
gdro simulate uniform examples/own_part.py:Behind --steps 200
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import gdro


@dataclass(kw_only=True, eq=False)
class Behind(gdro.Weigher):
    """Weights exp(boost (average - success rate)), scaled to mean 1; the average moves with the
    steps."""

    boost: float = 2.0
    name: ClassVar[str] = "behind"

    def start(self) -> None:
        self.state = {"average": 0.5}

    def weigh(self, outcome: gdro.Outcome, before: gdro.Belief) -> np.ndarray:
        weights = np.exp(self.boost * (self.state["average"] - outcome.mean))
        return weights / weights.mean()

    def update(self, outcome: gdro.Outcome, before: gdro.Belief) -> None:
        self.state["average"] += 0.1 * (float(outcome.mean.mean()) - self.state["average"])
