"""What MaxRL, BBG and CurveRL share: a weight on r - mean, whatever advantage the engine computes.

These methods state their advantage as w (r - mean). Engines multiply a prompt's advantages by its
weight, so with

    grpo      (r - mean) / std    the weight is w std
    dr_grpo    r - mean           the weight is w

the product is w (r - mean), up to GRPO's epsilon beside the std (relative error epsilon / std <
4e-4 at n <= 12). Rewards are rescaled to [0, 1] first. Groups without a gradient keep weight 1,
which multiplies 0. Engines take positive weights: a weight of exactly 0 is SHUT of the others'
scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gdro.controllers.part import Weigher
from gdro.core.belief import Belief
from gdro.core.outcome import Outcome
from gdro.core.types import Floats

SHUT = 1e-9
"""Stands for a weight of 0: its gradient is below the rounding of a step in single precision."""


@dataclass(kw_only=True, eq=False)
class Centred(Weigher):
    """Weights that make the engine's advantage w (r - mean). Subclasses give w, `factors`.

    Attributes:
        advantage: what the engine computes, grpo or dr_grpo; None: as the run says, alone grpo.
        ddof: of the engine's standard deviation, 0 or 1; without effect for dr_grpo. None: as the
            run says, alone 0.
    """

    advantage: Literal["grpo", "dr_grpo"] | None = None
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
