"""Weighers of gdro's own: the factor of each prompt's advantages."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from gdro.controllers.part import BETA, Weigher
from gdro.core import signals
from gdro.core.adversaries import Adversary, AdversaryName, EmaHedge, make_adversary, scale_gains
from gdro.core.belief import Belief
from gdro.core.difficulty import bin_centres, bins_at
from gdro.core.errors import OptionError
from gdro.core.outcome import Outcome, Pending
from gdro.core.regret import RegretMeter
from gdro.core.signals import Signal
from gdro.core.state import State, read_int, read_state
from gdro.core.types import UNSEEN, Bools, Floats, Ints, Metric

Weights = Literal["omega", "mean_one", "mean_one_live"]
GAIN_RANGE = {"failure": (0.0, 1.0), "variance": (0.0, 0.5), "surrogate": (-1.0, 1.0)}
"""The range in which a bin's mean signal lies, mapped to [0, 1] for the no-regret learners and the
regret meter (an unbiased variance reaches 1/2 at n = 2; a surrogate beyond +-1 is clipped and
counted)."""

OWN_OPTIONS: dict[str, dict[str, Any]] = {
    "ema_hedge": {"eta": 3.0, "beta": 0.12, "score_start": None},
    "hedge": {"gamma": 0.01},
    "exp3p": {"horizon": 1000},
    "tsallis_inf": {"gamma": 0.01},
}
"""The options that a learner reads, with their defaults. Any other is refused: it would change
nothing."""
MIXING, CLIP = 0.01, 10.0
"""gamma of eq. 15 (in the metric `prob` alone: eq. 16 takes the weights from omega) and C of eq.
14, of ema_hedge."""


@dataclass(kw_only=True, eq=False)
class Ones(Weigher):
    """Every prompt weighs 1."""

    name: ClassVar[str] = "ones"

    def weigh(self, outcome: Outcome, before: Belief) -> Floats:
        return np.ones(len(outcome.prompts))


@dataclass(kw_only=True, eq=False)
class BinAdversary(Weigher):
    """Prompt-GDRO: a data adversary over difficulty bins (eqs. 12-16). Hard bins weigh more.

    With the failure signal the weight of a bin with pass rate p tends to exp(eta (1 - p)),
    rescaled: eta = 0 optimises the mean reward, eta = k - 1 about pass@k, eta -> infinity the worst
    bin.

    A prompt in no bin weighs 1, and the others are rescaled among themselves.

    Attributes:
        signal: failure, variance or surrogate (see gdro.core.signals).
        adversary: ema_hedge, hedge, exp3p or tsallis_inf (see gdro.core.adversaries for their
            guarantees).
        eta: rate of ema_hedge; None for 3.
        beta: weight of the newest signal in the score of ema_hedge (eq. 12); None for 0.12.
        score_start: the score of a bin before its first prompt, of ema_hedge: centre, what the
            bin's own success rate says of the signal; zero, as the paper has it, which reads as
            solved, so that a bin first met late needs about 1 / beta visits to weigh what it
            should. None: centre, but zero for the surrogate.
        gamma: uniform mixing of hedge and tsallis_inf (eq. 15); None for 0.01.
        horizon: steps that exp3p tunes itself for; None for 1000.
        weights: omega, min(omega_b, omega_max) as in eq. 16: the step grows with the weights;
            mean_one, rescaled to mean 1 over the batch, which keeps the step size of GRPO;
            mean_one_live, over the groups whose rewards differ. Groups that are all right or all
            wrong have no gradient; rescaling over all groups would hand them most of the mass.
        omega_max: cap of eq. 16.
        share_floor: divide each bin's signal by its share of the batch, at least this; None to
            leave it as is.
        by: which of a prompt's bins weighs it: `before`, the one it had before this visit, so that
            one met for the first time weighs 1; `after`, the one that its posterior has with this
            visit's rewards, so that a first visit counts (what that optimises:
            `gdro.core.theory.objective_slope`).
        acts: where the weights act: on the gradient, on the selection of prompts, or on both.
    """

    signal: Signal = "failure"
    adversary: AdversaryName = "ema_hedge"
    eta: float | None = None
    beta: float | None = None
    score_start: Literal["centre", "zero"] | None = None
    gamma: float | None = None
    horizon: int | None = None
    weights: Weights = "mean_one_live"
    omega_max: float = 15.0
    share_floor: float | None = None
    by: Literal["before", "after"] = "before"
    acts: Literal["gradient", "selection", "both"] = "gradient"

    name: ClassVar[str] = "adversary"

    @property
    def from_run(self) -> tuple[str, ...]:
        return ("horizon",) if self.adversary == "exp3p" else ()

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({BETA} if self.by == "after" else ())

    @property
    def needs_losses(self) -> bool:
        return self.signal == "surrogate"

    def __post_init__(self) -> None:
        super().__post_init__()
        mine = OWN_OPTIONS[self.adversary]
        for option in sorted(
            {name for owned in OWN_OPTIONS.values() for name in owned} - mine.keys()
        ):
            if getattr(self, option) is not None:
                users = [name for name, owned in OWN_OPTIONS.items() if option in owned]
                raise OptionError(
                    f"{option}={getattr(self, option)!r} is of adversary {' and '.join(users)};"
                    f" leave it out for {self.adversary!r}, where it changes nothing"
                )
        if self.by == "after" and self.signal == "surrogate":
            raise OptionError(
                "signal='surrogate' comes after the weights are given; take failure or variance"
                " here"
            )

    def start(self) -> None:
        self.require(0.0 < self.omega_max <= 1e100, "omega_max", "must be positive and finite")
        floor = self.share_floor
        self.require(
            floor is None or 0.0 < floor <= 1.0, "share_floor", "must lie in (0, 1], or be None"
        )
        given = {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, default in OWN_OPTIONS[self.adversary].items()
            if name != "score_start"
        }
        shared = {"eta": 3.0, "beta": 0.12, "gamma": MIXING, "horizon": 1000} | given
        bins = self.facts.bins
        self.learner = make_adversary(
            self.adversary, bins, clip=CLIP, seed=self.facts.seed, start=self._start(), **shared
        )
        if floor is not None and not self.learner.anticipates:
            raise OptionError(
                "share_floor needs adversary=ema_hedge; the no-regret learners want gains in [0, 1]"
            )
        self.meter = RegretMeter(bins)
        self.clipped = 0

    def _start(self) -> Floats:
        """(B,) the signal that a bin's own success rate stands for, or zeros."""
        if self.signal == "surrogate" or self.score_start == "zero":
            return np.zeros(self.facts.bins)
        centre = bin_centres(self.facts.edges)
        return 1.0 - centre if self.signal == "failure" else centre * (1.0 - centre)

    def weigh(self, outcome: Outcome, before: Belief) -> Floats:
        if self.acts == "selection":
            return np.ones(len(outcome.prompts))
        learner = self.learner
        if learner.anticipates and self.signal != "surrogate":
            learner = self._after(self._gains(outcome), outcome.bins)
        omega = np.minimum(learner.omega(), self.omega_max)
        return rescaled(omega, self._bins(outcome, before), outcome.live, self.weights)

    @property
    def acts_on_selection(self) -> bool:
        return self.acts != "gradient"

    def selection_weights(self) -> Floats | None:
        return self._omega() if self.acts_on_selection else None

    def allocation_weights(self) -> Floats | None:
        return None if self.acts == "selection" else self._omega()

    def _omega(self) -> Floats:
        """(B,) min(omega_b, omega_max)."""
        return np.minimum(self.learner.omega(), self.omega_max)

    def update(self, outcome: Outcome, before: Belief) -> None:
        if self.signal != "surrogate":
            self._learn(self._gains(outcome), outcome.bins)

    def update_losses(self, batch: Pending, losses: Floats) -> None:
        if self.signal == "surrogate":
            self._learn(signals.bin_means(losses, batch.bins, self.facts.bins), batch.bins)

    def _bins(self, outcome: Outcome, before: Belief) -> Ints:
        """(M,) the bins by which the prompts are weighed."""
        if self.by == "before":
            return outcome.bins
        return bins_at(self.facts.edges, before.mean_after(outcome))

    def _gains(self, outcome: Outcome) -> Floats:
        """(B,) mean signal of each bin (eq. 13); NaN for a bin that the batch lacks.

        Bins are those before the visit, also where a prompt is weighed by the one after: of the
        prompts that land in the lowest bin BECAUSE they failed, failure is 1 whatever their rate,
        and the weights would be too steep.
        """
        rewards = outcome.unit
        values = signals.failure(rewards) if self.signal == "failure" else signals.variance(rewards)
        return signals.bin_means(values, outcome.bins, self.facts.bins)

    def _after(self, gains: Floats, bins: Ints) -> Adversary:
        """The learner after these gains; the one in use stays as it is. No bin is no round of the
        game."""
        learner = copy.copy(self.learner)
        if np.isnan(gains).all():
            return learner
        if not learner.anticipates:
            learner.update(scale_gains(gains, *GAIN_RANGE[self.signal])[0])
            return learner
        if self.share_floor is not None:
            gains = gains / np.maximum(signals.bin_shares(bins, self.facts.bins), self.share_floor)
        learner.update(gains)
        return learner

    def _learn(self, gains: Floats, bins: Ints) -> None:
        if np.isnan(gains).all():
            return
        unit, clipped = scale_gains(gains, *GAIN_RANGE[self.signal])
        self.clipped += clipped
        self.meter.record(self.learner.probabilities(), unit)
        self.learner = self._after(gains, bins)

    def metrics(self) -> dict[str, Metric]:
        """q, regret with its bound, and whether the signal steers anything."""
        omega = self._omega()
        own: dict[str, Metric] = {
            "prob": self.learner.probabilities().tolist(),
            "regret": self.meter.regret,
            "regret_bound": self.learner.regret_bound(self.meter.rounds),
            "signal_spread": signals.spread(omega),
            "signal_informative": int(signals.informative(omega)),
            "signal_clipped": self.clipped,
        }
        return own | (
            {"score": self.learner.score.tolist()} if isinstance(self.learner, EmaHedge) else {}
        )

    def state_dict(self) -> State:
        return {
            "learner": self.learner.state_dict(),
            "meter": self.meter.state_dict(),
            "clipped": self.clipped,
        }

    def load_state_dict(self, state: State) -> None:
        self.learner.load_state_dict(read_state(state, "learner"))
        self.meter.load_state_dict(read_state(state, "meter"))
        self.clipped = read_int(state, "clipped")


def rescaled(omega: Floats, bins: Ints, live: Bools, kind: Weights) -> Floats:
    """(M,) finite, positive weights by bin; 1 for UNSEEN prompts."""
    seen = bins != UNSEEN
    weights = np.where(seen, omega[bins], 1.0)
    if kind == "omega" or not seen.any():
        return weights
    counted = seen & live if kind == "mean_one_live" and (seen & live).any() else seen
    return np.where(seen, weights / weights[counted].mean(), 1.0)
