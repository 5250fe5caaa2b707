"""Prompt-GDRO's game (eqs. 12-16): a signal per bin, an adversary over bins, a weight per prompt.

Weights:

- `omega`: min(omega_b, omega_max), eq. 16. The step grows with the weights.
- `mean_one`: the same, rescaled to mean 1 over the batch, which keeps the step size of GRPO.
- `mean_one_live`: rescaled to mean 1 over the live groups, those whose rewards differ. Groups that are all right or
  all wrong have no gradient; rescaling over all groups would hand them most of the mass.

A prompt without a visit has no bin: its weight is 1 and the others are rescaled among themselves.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from gdro.core import signals
from gdro.core.adversaries import Adversary, scale_gains
from gdro.core.errors import OptionError
from gdro.core.outcome import Outcome
from gdro.core.regret import RegretMeter
from gdro.core.state import State, read_int, read_state
from gdro.core.types import UNSEEN, Bools, Floats, Ints

Weights = Literal["omega", "mean_one", "mean_one_live"]
WEIGHTS: tuple[Weights, ...] = ("omega", "mean_one", "mean_one_live")

GAIN_RANGE = {"failure": (0.0, 1.0), "variance": (0.0, 0.5), "surrogate": (-1.0, 1.0)}
"""The range in which a bin's mean signal lies, mapped to [0, 1] for the no-regret learners and the regret meter
(an unbiased variance reaches 1/2 at n = 2; a surrogate beyond +-1 is clipped and counted)."""


class PromptGame:
    """Signal, adversary, weights and regret meter of one data game over B bins.

    Args:
        share_floor: divide each bin's signal by its share of the batch, at least this floor; None to leave it as is.

    Raises:
        OptionError: names the option that is out of range.
    """

    def __init__(
        self,
        bins: int,
        adversary: Adversary,
        signal: signals.Signal,
        weights: Weights,
        omega_max: float,
        share_floor: float | None,
    ) -> None:
        if signal not in signals.SIGNALS:
            raise OptionError(f"signal={signal!r} is none of {', '.join(signals.SIGNALS)}")
        if weights not in WEIGHTS:
            raise OptionError(f"weights={weights!r} is none of {', '.join(WEIGHTS)}")
        if not 0.0 < omega_max <= 1e100:
            raise OptionError(f"omega_max={omega_max:g} must be positive and finite")
        if share_floor is not None and not 0.0 < share_floor <= 1.0:
            raise OptionError(f"share_floor={share_floor:g} must lie in (0, 1], or be None for no share normalisation")
        if share_floor is not None and not adversary.anticipates:
            raise OptionError("share_floor needs adversary=ema_hedge; the no-regret learners want gains in [0, 1]")
        self.bins, self.adversary, self.signal, self.kind = bins, adversary, signal, weights
        self.omega_max, self.share_floor = omega_max, share_floor
        self.meter = RegretMeter(bins)
        self.clipped = 0

    def play(self, outcome: Outcome) -> Floats:
        """(M,) weights of a batch; learns from it before or after, as the adversary's guarantee requires."""
        if self.signal == "surrogate":
            return self.weigh(outcome.bins, outcome.live)
        values = signals.failure(outcome.unit) if self.signal == "failure" else signals.variance(outcome.unit)
        if self.adversary.anticipates:
            self.learn(outcome.bins, values)
            return self.weigh(outcome.bins, outcome.live)
        weights = self.weigh(outcome.bins, outcome.live)
        self.learn(outcome.bins, values)
        return weights

    def bin_weights(self) -> Floats:
        """(B,) min(omega_b, omega_max)."""
        return np.minimum(self.adversary.omega(), self.omega_max)

    def weigh(self, bins: Ints, live: Bools) -> Floats:
        """(M,) finite, positive weights; 1 for UNSEEN prompts."""
        seen = bins != UNSEEN
        weights = np.where(seen, self.bin_weights()[bins], 1.0)
        if self.kind == "omega" or not seen.any():
            return weights
        counted = seen & live if self.kind == "mean_one_live" and (seen & live).any() else seen
        return np.where(seen, weights / weights[counted].mean(), 1.0)

    def learn(self, bins: Ints, values: Floats) -> None:
        """Take in one signal a prompt (M,). A batch without any binned prompt is no round of the game."""
        gains = signals.bin_means(values, bins, self.bins)
        if np.isnan(gains).all():
            return
        unit, clipped = scale_gains(gains, *GAIN_RANGE[self.signal])
        self.clipped += clipped
        self.meter.record(self.adversary.probabilities(), unit)
        if not self.adversary.anticipates:
            self.adversary.update(unit)
            return
        if self.share_floor is not None:
            gains = gains / np.maximum(signals.bin_shares(bins, self.bins), self.share_floor)
        self.adversary.update(gains)

    def metrics(self) -> dict[str, Any]:
        """q, weights before rescaling, regret with its bound, and whether the signal steers anything."""
        weights = self.bin_weights()
        return {
            "prob": self.adversary.probabilities().tolist(),
            "regret": self.meter.regret,
            "regret_bound": self.adversary.regret_bound(self.meter.rounds),
            "signal_spread": signals.spread(weights),
            "signal_informative": int(signals.informative(weights)),
            "signal_clipped": self.clipped,
        }

    def state_dict(self) -> State:
        """Adversary, meter and counter."""
        return {
            "adversary": self.adversary.state_dict(),
            "meter": self.meter.state_dict(),
            "clipped": self.clipped,
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave."""
        self.adversary.load_state_dict(read_state(state, "adversary"))
        self.meter.load_state_dict(read_state(state, "meter"))
        self.clipped = read_int(state, "clipped")
