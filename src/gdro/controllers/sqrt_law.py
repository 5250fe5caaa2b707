"""The square-root law as its own closed form: n_b proportional to sqrt(v_b) (paper eqs. 28-31; Neyman, 1934)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.base import Controller
from gdro.controllers.rollout_gdro import spread_over_seen
from gdro.core.budget import sqrt_law
from gdro.core.errors import OptionError
from gdro.core.hashing import Keys
from gdro.core.outcome import Outcome
from gdro.core.signals import bin_means, bin_shares
from gdro.core.state import State, read_array
from gdro.core.types import UNSEEN, Floats, Ints


@dataclass(kw_only=True, eq=False)
class SqrtLaw(Controller):
    """What Rollout-GDRO with utility `variance` converges to, without arms and price.

    Attributes:
        ema: weight of the newest observation in each bin's variance.
    """

    ema: float = 0.4

    name: ClassVar[str] = "sqrt_law"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.ema <= 1.0:
            raise OptionError(f"ema={self.ema:g} must lie in (0, 1]; it is the weight of the newest variance")
        centre = (self.edges[1:] + self.edges[:-1]) / 2.0
        self.variance = centre * (1.0 - centre)

    def _allocate(self, ids: tuple[str, ...], rows: Ints, bins: Ints, keys: Keys) -> tuple[Ints, Floats]:
        share = bin_shares(bins, self.bins)
        if share.any():
            demand = sqrt_law(share, self.variance, self.mean_rollouts)
        else:
            demand = np.full(self.bins, float(self.mean_rollouts))
        return spread_over_seen(demand, bins, keys, self.mean_rollouts, self.min_rollouts, self.max_rollouts), demand

    def _learn(self, outcome: Outcome) -> None:
        freedom = np.maximum(outcome.unit.counts - 1, 0)
        seen = np.where(freedom > 0, outcome.bins, UNSEEN)
        mean_squares = bin_means(outcome.squares, seen, self.bins) / bin_means(freedom, seen, self.bins)
        moved = (1.0 - self.ema) * self.variance + self.ema * mean_squares
        self.variance = np.where(np.isnan(mean_squares), self.variance, moved)

    def _state(self) -> State:
        return {"variance": self.variance.copy()}

    def _load_state(self, state: State) -> None:
        self.variance = read_array(state, "variance", self.variance)
