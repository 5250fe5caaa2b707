"""MaxRL: divide the advantage by the success rate, (r - mean) / mean, as a weight on the usual
advantage.

Source: Tajwar et al., arXiv 2602.02710; advantage read in the released code (there with 1e-6 added
to the mean). In expectation over many rollouts it is the gradient of the maximum likelihood log p,
that is of all pass@k at once: grad log p = grad p / p.

Engines multiply a prompt's advantages by its weight, so with

    grpo      (r - mean) / std       the weight is std / mean, for binary rewards sqrt((1-p) / p)
    dr_grpo    r - mean              the weight is 1 / mean

the product is (r - mean) / mean, up to GRPO's epsilon beside the std (relative error epsilon / std
< 4e-4 at n <= 12). Rewards are rescaled to [0, 1] first: with rewards of +-1 the mean could be 0 or
negative. Groups without a gradient keep weight 1, which multiplies 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.controllers.part import Weigher
from gdro.core.belief import Belief
from gdro.core.outcome import Outcome
from gdro.core.types import Floats

EPSILON = 1e-6
"""Least mean reward that is divided by, as in the release."""


@dataclass(kw_only=True, eq=False)
class MaxRL(Weigher):
    """Weights that turn the engine's advantage into MaxRL's.

    Attributes:
        advantage: what the engine computes, grpo or dr_grpo; None: as the run says, alone grpo.
        ddof: of the engine's standard deviation, 0 or 1; without effect for dr_grpo. None: as the
            run says, alone 0.
    """

    advantage: Literal["grpo", "dr_grpo"] | None = None
    ddof: int | None = None

    name: ClassVar[str] = "maxrl"

    @property
    def from_run(self) -> tuple[str, ...]:
        return ("advantage",) if self.advantage == "dr_grpo" else ("advantage", "ddof")

    def start(self) -> None:
        self.require(self.ddof in (None, 0, 1), "ddof", "must be 0 (population) or 1 (sample)")

    def weigh(self, outcome: Outcome, before: Belief) -> Floats:
        counts = outcome.unit.counts
        scale = np.ones(len(counts))
        if self.advantage != "dr_grpo":
            scale = np.sqrt(outcome.squares / np.maximum(counts - (self.ddof or 0), 1))
        usable = outcome.live & (outcome.mean > 0.0) & (scale > 0.0)
        return np.divide(
            scale, np.maximum(outcome.mean, EPSILON), out=np.ones(len(counts)), where=usable
        )
