"""MoPPS: train on the prompts whose success rate, drawn from its posterior, lies nearest to one half.

Source: Qu et al., arXiv 2507.04632; read in the release (decay 0.5, prior Beta(1, 1), target 0.5, the `topk` rule, all
in its countdown script). Each candidate's rate is drawn once (Thompson sampling), so prompts that are little known are
tried now and then, and an unseen prompt draws from the prior.

The release samples with numpy's global generator; here a draw is a function of seed, step and prompt id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.peers.posterior import PosteriorController
from gdro.controllers.peers.thompson import beta_draws
from gdro.core.errors import OptionError
from gdro.core.hashing import Keys
from gdro.core.types import Floats, Ints


@dataclass(kw_only=True, eq=False)
class MoPPS(PosteriorController):
    """Selects; rollouts uniform, weights 1.

    Attributes:
        target: the success rate to be near to.
    """

    prior: float = 1.0
    decay: float = 0.5
    target: float = 0.5

    name: ClassVar[str] = "mopps"
    selects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.target <= 1.0:
            raise OptionError(f"target={self.target} must lie in [0, 1]")

    def _rank(self, ids: tuple[str, ...], rows: Ints, keys: Keys) -> Floats:
        a, b = self.posterior(rows)
        return np.abs(beta_draws(a, b, keys) - self.target)
