"""The live regret meter: what the adversary gained against the best fixed bin in hindsight."""

from __future__ import annotations

import numpy as np

from gdro.core.adversaries import own_gain
from gdro.core.state import State, read_array, read_int
from gdro.core.types import Floats


class RegretMeter:
    """Cumulative gain of every fixed bin minus that of the q that was played.

    An absent bin is a sleeping expert: in that round it counts as gaining what the adversary
    gained. So the regret against a bin is over the rounds in which it was present.
    """

    def __init__(self, bins: int) -> None:
        self.excess = np.zeros(bins)
        self.rounds = 0

    def record(self, q: Floats, gains: Floats) -> None:
        """One round: q (B,) fixed before the gains (B,) in [0, 1], which are NaN for an absent bin,
        not for all."""
        excess = np.where(np.isnan(gains), 0.0, gains - own_gain(gains, q))
        self.excess = self.excess + excess
        self.rounds += 1

    @property
    def regret(self) -> float:
        """max_b sum_t (gain_t(b) - <q_t, gain_t>), in units of the gains."""
        return float(self.excess.max())

    def state_dict(self) -> State:
        """The running sums."""
        return {"excess": self.excess.copy(), "rounds": self.rounds}

    def load_state_dict(self, state: State) -> None:
        """Restore the running sums."""
        self.excess, self.rounds = (
            read_array(state, "excess", self.excess),
            read_int(state, "rounds"),
        )
