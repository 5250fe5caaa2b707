"""The live regret meter: what the adversary gained against the best fixed bin in hindsight."""

from __future__ import annotations

from typing import Any

import numpy as np

from gdro.core.adversaries import fill_absent
from gdro.core.types import Floats


class RegretMeter:
    """Cumulative gain of every fixed bin minus that of the q that was played.

    An absent bin is a sleeping expert: in that round it counts as gaining what the adversary gained.
    """

    def __init__(self, bins: int) -> None:
        self.excess = np.zeros(bins)
        self.rounds = 0

    def record(self, q: Floats, gains: Floats) -> None:
        """One round: q (B,) as played, gains (B,) in [0, 1] with NaN for an absent bin."""
        present = ~np.isnan(gains)
        if not present.any():
            return
        own = float(q[present] @ gains[present]) / float(q[present].sum())
        self.excess = self.excess + fill_absent(gains, q) - own
        self.rounds += 1

    @property
    def regret(self) -> float:
        """max_b sum_t (gain_t(b) - <q_t, gain_t>), in units of the gains."""
        return float(self.excess.max())

    def state_dict(self) -> dict[str, Any]:
        """The running sums."""
        return {"excess": self.excess.copy(), "rounds": self.rounds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the running sums."""
        self.excess, self.rounds = np.array(state["excess"]), int(state["rounds"])
