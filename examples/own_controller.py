"""A controller of your own, in one file: prompts that lag behind the others weigh more.

    gdro train --set controller=examples/own_controller.py:Behind --set controller.boost=4
    gdro simulate uniform examples/own_controller.py:Behind --steps 200

docs/own_controller.md says what each part is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import gdro
from gdro.core.outcome import Outcome
from gdro.core.state import State, read_float
from gdro.core.types import Floats, Metric


@dataclass(kw_only=True, eq=False)
class Behind(gdro.Controller):
    """Weights exp(boost (average - success rate)), scaled to mean 1; the average is a moving one over steps.

    Attributes:
        boost: 0 is plain GRPO.
        pace: share of a new step in the average.
    """

    boost: float = 2.0
    pace: float = 0.1

    name: ClassVar[str] = "behind"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.pace <= 1.0:
            raise gdro.OptionError(f"pace={self.pace} must lie in (0, 1]")
        self.average = 0.5

    def _weigh(self, outcome: Outcome) -> Floats:
        weights = np.exp(self.boost * (self.average - outcome.mean))
        return np.asarray(weights / weights.mean())

    def _learn(self, outcome: Outcome) -> None:
        self.average += self.pace * (float(outcome.mean.mean()) - self.average)

    def _method_metrics(self) -> dict[str, Metric]:
        return {"average": self.average}

    def _state(self) -> State:
        return {"average": self.average}

    def _load_state(self, state: State) -> None:
        self.average = read_float(state, "average")
