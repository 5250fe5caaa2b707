"""MoPPS: train on the prompts whose success rate, drawn from its posterior, lies nearest to one
half.

Source: Qu et al., arXiv 2507.04632; read in the release (decay 0.5, prior Beta(1, 1), target 0.5,
the `topk` rule, all in its countdown script). Each candidate's rate is drawn once (Thompson
sampling), so prompts that are little known are tried now and then, and an unseen prompt draws from
the prior.

The release samples with numpy's global generator; here a draw is a function of seed, step and
prompt id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.contrib.thompson import beta_draws
from gdro.controllers.part import BETA, Batch, Selector
from gdro.core.types import Floats


@dataclass(kw_only=True, eq=False)
class MoPPS(Selector):
    """Attributes:
    target: the success rate to be near to.
    """

    target: float = 0.5

    name: ClassVar[str] = "mopps"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({BETA})

    def start(self) -> None:
        self.require(0.0 <= self.target <= 1.0, "target", "must lie in [0, 1]")

    def rank(self, batch: Batch) -> Floats:
        return np.asarray(np.abs(beta_draws(*batch.belief.beta, batch.keys) - self.target))
