"""MaxRL: divide the advantage by the success rate, (r - mean) / mean, as a weight on the usual
advantage.

Source: Tajwar et al., arXiv 2602.02710; advantage read in the released code (there with 1e-6 added
to the mean). In expectation over many rollouts it is the gradient of the maximum likelihood log p,
that is of all pass@k at once: grad log p = grad p / p.

With GRPO's advantage the weight is std / mean, for binary rewards sqrt((1-p) / p); with Dr. GRPO's
it is 1 / mean (`centred.py`). Rewards are rescaled to [0, 1] first: with rewards of +-1 the mean
could be 0 or negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.contrib.centred import Centred
from gdro.core.outcome import Outcome
from gdro.core.types import Floats

EPSILON = 1e-6
"""Least mean reward that is divided by, as in the release."""


@dataclass(kw_only=True, eq=False)
class MaxRL(Centred):
    """Weights that turn the engine's advantage into MaxRL's."""

    name: ClassVar[str] = "maxrl"

    def factors(self, outcome: Outcome) -> Floats:
        return np.asarray(1.0 / np.maximum(outcome.mean, EPSILON))
