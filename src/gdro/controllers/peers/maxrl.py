"""MaxRL: divide the advantage by the success rate, (r - mean) / mean, as a weight on the usual advantage.

Source: Tajwar et al., arXiv 2602.02710; advantage read in the released code (there with 1e-6 added to the mean). In
expectation over many rollouts it is the gradient of the maximum likelihood log p, that is of all pass@k at once:
grad log p = grad p / p.

Engines multiply a prompt's advantages by its weight, so with

    grpo      (r - mean) / std       the weight is std / mean, for binary rewards sqrt((1-p) / p)
    dr_grpo    r - mean              the weight is 1 / mean

the product is (r - mean) / mean, up to GRPO's epsilon beside the std (relative error epsilon / std < 4e-4 at n <= 12).
Rewards are rescaled to [0, 1] first: with rewards of +-1 the mean could be 0 or negative. Groups without a gradient
keep weight 1, which multiplies 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.controllers.base import Controller
from gdro.core.errors import OptionError
from gdro.core.outcome import Outcome
from gdro.core.types import Floats

EPSILON = 1e-6
"""Least mean reward that is divided by, as in the release."""


@dataclass(kw_only=True, eq=False)
class MaxRL(Controller):
    """Weights that turn the engine's advantage into MaxRL's.

    Attributes:
        advantage: what the engine computes, grpo or dr_grpo.
        ddof: of the engine's standard deviation; without effect for dr_grpo.
    """

    advantage: Literal["grpo", "dr_grpo"] = "grpo"
    ddof: int = 0

    name: ClassVar[str] = "maxrl"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.advantage not in ("grpo", "dr_grpo"):
            raise OptionError(f"advantage={self.advantage!r} is none of grpo, dr_grpo")
        if self.ddof not in (0, 1):
            raise OptionError(f"ddof={self.ddof} must be 0 (population) or 1 (sample)")

    def _weigh(self, outcome: Outcome) -> Floats:
        counts = outcome.unit.counts
        scale = np.ones(len(counts))
        if self.advantage == "grpo":
            scale = np.sqrt(outcome.squares / np.maximum(counts - self.ddof, 1))
        usable = outcome.live & (outcome.mean > 0.0) & (scale > 0.0)
        return np.divide(scale, np.maximum(outcome.mean, EPSILON), out=np.ones(len(counts)), where=usable)
