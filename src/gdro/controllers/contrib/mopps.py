"""MoPPS: train on the prompts whose success rate, drawn from its posterior, lies nearest to one
half.

Source: Qu et al., arXiv 2507.04632; read in the release (decay 0.5, prior Beta(1, 1), target 0.5,
the `topk` rule, all in its countdown script). Each candidate's rate is drawn once (Thompson
sampling), so prompts that are little known are tried now and then, and an unseen prompt draws from
the prior.

The release samples with numpy's global generator; here a draw is a function of seed, step and
prompt id.

A draw depends on a key alone, so that it needs no random state. A Beta(a, b) draw is x / (x + y) of
Gamma(a) and Gamma(b) draws; a Gamma draw is by Marsaglia and Tsang (2000), with its normal and
uniform numbers hashed from (key, attempt).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.part import BETA, Batch, Selector
from gdro.core.hashing import Keys, step_keys, to_unit
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


ATTEMPTS = 100
"""Each attempt is accepted with probability > 0.95: 100 failures in a row have probability <
1e-130."""


def beta_draws(a: Floats, b: Floats, keys: Keys) -> Floats:
    """(M,) one draw of Beta(a_i, b_i) for each key; a and b positive."""
    x, y = _gamma_draws(a, step_keys(keys, 1, 0)), _gamma_draws(b, step_keys(keys, 2, 0))
    total = x + y
    return np.asarray(np.divide(x, total, out=np.full(len(x), 0.5), where=total > 0.0))


def _gamma_draws(shape: Floats, keys: Keys) -> Floats:
    """(M,) Gamma(shape, 1); a shape below 1 by Gamma(shape + 1) * u^(1 / shape)."""
    raised = np.where(shape < 1.0, shape + 1.0, shape)
    boost = np.where(shape < 1.0, _uniform(keys, ATTEMPTS, 0) ** (1.0 / shape), 1.0)
    centre = raised - 1.0 / 3.0
    result = centre.copy()
    left = np.arange(len(shape))
    for attempt in range(ATTEMPTS):
        d = centre[left]
        radius = np.sqrt(-2.0 * np.log(_uniform(keys[left], attempt, 0)))
        normal = radius * np.cos(2.0 * np.pi * _uniform(keys[left], attempt, 1))
        v = (1.0 + normal / np.sqrt(9.0 * d)) ** 3
        positive = np.maximum(v, 1e-300)
        taken = (v > 0.0) & (
            np.log(_uniform(keys[left], attempt, 2))
            < 0.5 * normal**2 + d * (1.0 - v + np.log(positive))
        )
        result[left[taken]] = (d * v)[taken]
        left = left[~taken]
        if not left.size:
            break
    return result * boost


def _uniform(keys: Keys, attempt: int, stream: int) -> Floats:
    """(M,) numbers in (0, 1)."""
    return to_unit(step_keys(keys, 3 + stream, attempt)) + 2.0**-54
