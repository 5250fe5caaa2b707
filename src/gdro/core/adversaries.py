"""The data adversary: a distribution q over bins that moves towards the bins with the larger
signal.

Four learners behind one Protocol. `gains` are the bins' signals, shape (B,), NaN for a bin absent
from the batch. The three no-regret learners take gains in [0, 1]; `scale_gains` maps a bounded
signal there and counts what it clips. An absent bin is a sleeping expert: it is credited with what
the adversary itself gained, so its regret stands still. At least one bin must be present. Bounds
are against the best fixed bin over the rounds in which it was present.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol

import numpy as np

from gdro.core.errors import OptionError
from gdro.core.hashing import uniform
from gdro.core.signals import count_outside, moving_average
from gdro.core.state import State, read_array, read_int
from gdro.core.types import Floats

AdversaryName = Literal["ema_hedge", "hedge", "exp3p", "tsallis_inf"]

LARGEST_EXPONENT = 300.0
"""exp(+-300) and products of two such weights are finite and positive."""


class Adversary(Protocol):
    """One learner.

    Attributes:
        anticipates: True when the weights of a step already use that step's signal (eqs. 12-16);
            False when they are fixed before it, as a regret bound requires.
        guarantee: what is proven, in one sentence.
    """

    anticipates: bool
    guarantee: str

    def probabilities(self) -> Floats:
        """(B,) q, summing to 1 and at least gamma / B each (eq. 15)."""
        ...

    def omega(self) -> Floats:
        """(B,) unnormalised weights: 1 means no change (eq. 14; B q for the learners that keep no
        score)."""
        ...

    def update(self, gains: Floats) -> None:
        """Take in the gains of one step; NaN for an absent bin (at least one is present)."""
        ...

    def regret_bound(self, rounds: int) -> float:
        """Bound on the regret against the best fixed bin after so many rounds, in units of the
        gains; NaN if none."""
        ...

    def state_dict(self) -> State:
        """Arrays and numbers that `load_state_dict` takes back."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave."""
        ...


def softmax(scores: Floats) -> Floats:
    """exp(scores) normalised, without overflow."""
    weights = np.exp(np.maximum(scores - scores.max(), -LARGEST_EXPONENT))
    return np.asarray(weights / weights.sum())


def mix(weights: Floats, gamma: float) -> Floats:
    """(1 - gamma) q + gamma / B (eq. 15)."""
    return (1.0 - gamma) * weights + gamma / len(weights)


def own_gain(gains: Floats, q: Floats) -> float:
    """What q (B,) gains over the bins that are present; gains (B,) are NaN for the others."""
    present = ~np.isnan(gains)
    return float(q[present] @ gains[present]) / float(q[present].sum())


def fill_absent(gains: Floats, q: Floats) -> Floats:
    """(B,) gains with each NaN replaced by the adversary's own gain."""
    return np.where(np.isnan(gains), own_gain(gains, q), gains)


class EmaHedge:
    """The paper's learner, eqs. 12-15: exponential weights on an EMA score, clipped to [-C, C].

    The score does not accumulate, so this is a smoothed best response and no no-regret learner.
    """

    anticipates = True
    guarantee = (
        "the weights of two bins differ by at most a factor exp(2 eta C) (no regret bound: the EMA"
        " forgets)"
    )

    def __init__(
        self,
        bins: int,
        eta: float = 0.65,
        gamma: float = 0.01,
        beta: float = 0.12,
        clip: float = 10.0,
        start: Floats | None = None,
    ) -> None:
        _positive("eta", eta)
        _unit("gamma", gamma)
        if not 0.0 < beta <= 1.0:
            raise OptionError(
                f"beta={beta:g} must lie in (0, 1]; it is the weight of the newest signal in"
                " the EMA"
            )
        _positive("clip", clip)
        if eta * clip > LARGEST_EXPONENT:
            most = LARGEST_EXPONENT / clip
            raise OptionError(f"eta={eta:g} must be at most {most:g}, or exp overflows")
        self.eta, self.gamma, self.beta, self.clip = eta, gamma, beta, clip
        self.score = np.zeros(bins) if start is None else start.copy()

    def probabilities(self) -> Floats:
        return mix(softmax(self.eta * np.clip(self.score, -self.clip, self.clip)), self.gamma)

    def omega(self) -> Floats:
        return np.exp(self.eta * np.clip(self.score, -self.clip, self.clip))

    def update(self, gains: Floats) -> None:
        self.score = moving_average(self.score, gains, self.beta)

    def regret_bound(self, rounds: int) -> float:
        return math.nan

    def state_dict(self) -> State:
        return {"score": self.score.copy()}

    def load_state_dict(self, state: State) -> None:
        self.score = read_array(state, "score", self.score)


class _NoRegret:
    """What the three no-regret learners share: cumulative gains per bin and a round counter."""

    anticipates = False

    def __init__(self, bins: int, gamma: float) -> None:
        _unit("gamma", gamma)
        self.gamma = gamma
        self.cumulative = np.zeros(bins)
        self.rounds = 0

    @property
    def bins(self) -> int:
        return len(self.cumulative)

    def probabilities(self) -> Floats:
        raise NotImplementedError

    def omega(self) -> Floats:
        return self.bins * self.probabilities()

    def _advance(self, increments: Floats) -> None:
        self.rounds += 1
        self.cumulative = self.cumulative + increments
        self.cumulative -= self.cumulative.max()

    def state_dict(self) -> State:
        return {"cumulative": self.cumulative.copy(), "rounds": self.rounds}

    def load_state_dict(self, state: State) -> None:
        self.cumulative, self.rounds = (
            read_array(state, "cumulative", self.cumulative),
            read_int(state, "rounds"),
        )


class Hedge(_NoRegret):
    """Exponential weights on the sum of all gains (Freund and Schapire, 1997).

    With `eta=None` the rate is the anytime sqrt(8 log B / t), whose regret is at most sqrt(2 T log
    B) + sqrt(log B / 8) (Cesa-Bianchi and Lugosi, 2006, theorem 2.3); a fixed eta gives log B / eta
    + eta T / 8 (theorem 2.2). Mixing gamma adds at most gamma T. All hold for every sequence of
    gains, also one that answers q, and with sleeping bins: a bin credited with <q, gains> neither
    gains nor loses on q.
    """

    guarantee = (
        "regret <= sqrt(2 T log B) + sqrt(log B / 8) + gamma T against the best fixed bin, for"
        " gains in [0, 1]"
    )

    def __init__(self, bins: int, eta: float | None = None, gamma: float = 0.0) -> None:
        super().__init__(bins, gamma)
        if eta is not None:
            _positive("eta", eta)
        self.eta = eta

    def probabilities(self) -> Floats:
        rate = (
            self.eta
            if self.eta is not None
            else math.sqrt(8.0 * math.log(self.bins) / (self.rounds + 1))
        )
        return mix(softmax(rate * self.cumulative), self.gamma)

    def update(self, gains: Floats) -> None:
        self._advance(fill_absent(gains, self.probabilities()))

    def regret_bound(self, rounds: int) -> float:
        log_bins = math.log(self.bins)
        mixing = self.gamma * rounds
        if self.eta is not None:
            return log_bins / self.eta + self.eta * rounds / 8.0 + mixing
        return math.sqrt(2.0 * rounds * log_bins) + math.sqrt(log_bins / 8.0) + mixing


class _Bandit(_NoRegret):
    """A learner that uses the gain of one drawn bin only; the draw is a function of seed and
    round."""

    def __init__(self, bins: int, gamma: float, seed: int) -> None:
        super().__init__(bins, gamma)
        self.seed = seed

    def draw(self) -> int:
        """The bin of which the next update reads the gain, when every bin is present."""
        return self._draw(np.zeros(self.bins))[0]

    def _draw(self, gains: Floats) -> tuple[int, Floats]:
        """The drawn bin among those present, and q renormalised over them."""
        q = np.where(np.isnan(gains), 0.0, self.probabilities())
        q /= q.sum()
        point = uniform(self.seed, self.rounds, stream=1)
        drawn = int(np.searchsorted(np.cumsum(q), point, side="right"))
        return min(drawn, int(np.flatnonzero(q)[-1])), q


class Exp3P(_Bandit):
    """EXP3.P with importance weights g_i = (gain 1{i = drawn} + bias) / q_i (Soma et al., arXiv
    2212.13669).

    Rates for the horizon T: bias = sqrt(log(B/delta) / (T B)), gamma = 1.05 sqrt(B log B / T), eta
    = 0.95 sqrt(log B / (T B)) (Bubeck and Cesa-Bianchi, 2012, theorem 3.2). Whatever the number of
    rounds t, the gains of the DRAWN bins then fall short of the best fixed bin's by at most

        bias t B + gamma t + (1 + bias) eta B t + log(B/delta) / bias + log B / eta

    with probability 1 - delta, which is 5.15 sqrt(T B log(B/delta)) at t = T and linear in t beyond
    the horizon. The regret meter compares with the EXPECTED gain <q, gains>; by Azuma the two
    differ by at most sqrt(t log(1/delta) / 2) with probability 1 - delta. Proven with every bin
    present; with absent ones the draw is among those present, the others take the learner's own
    estimate, and the bound is an empirical one (tests/core/test_adversaries.py).
    """

    guarantee = (
        "regret <= 5.15 sqrt(T B log(B / delta)) + sqrt(T log(1 / delta) / 2) with probability 1 -"
        " 2 delta at T = horizon rounds, gains in [0, 1], all bins present"
    )

    def __init__(self, bins: int, horizon: int = 1000, delta: float = 0.05, seed: int = 0) -> None:
        if horizon < 1:
            raise OptionError(f"horizon={horizon} must be at least 1 step")
        if not 0.0 < delta < 1.0:
            raise OptionError(f"delta={delta:g} must lie in (0, 1)")
        log_bins = math.log(max(bins, 2))
        super().__init__(bins, min(0.5, 1.05 * math.sqrt(bins * log_bins / horizon)), seed)
        self.horizon, self.delta = horizon, delta
        self.eta = 0.95 * math.sqrt(log_bins / (horizon * bins))
        self.bias = math.sqrt(math.log(bins / delta) / (horizon * bins))

    def probabilities(self) -> Floats:
        return mix(softmax(self.eta * self.cumulative), self.gamma)

    def update(self, gains: Floats) -> None:
        drawn, q = self._draw(gains)
        present = q > 0.0
        hit = np.zeros(self.bins)
        hit[drawn] = gains[drawn]
        estimate = np.full(self.bins, np.nan)
        estimate[present] = (hit[present] + self.bias) / q[present]
        self._advance(fill_absent(estimate, q))

    def regret_bound(self, rounds: int) -> float:
        bins, log_bins = self.bins, math.log(max(self.bins, 2))
        linear = self.bias * bins + self.gamma + (1.0 + self.bias) * self.eta * bins
        fixed = math.log(bins / self.delta) / self.bias + log_bins / self.eta
        return linear * rounds + fixed + math.sqrt(rounds * math.log(1.0 / self.delta) / 2.0)


class TsallisInf(_Bandit):
    """Tsallis-INF with importance-weighted losses 1 - gain (Zimmert and Seldin, 2021, theorem 1):
    eta_t = 2 / sqrt(t), q_i = 4 (eta_t (L_i - x))^-2 with x such that q sums to 1. Best of both
    worlds, no horizon to choose.

    The bound is on the expectation over the draws (pseudo-regret); one run's meter may lie above
    it. Mixing gamma costs gamma T, and raises the variance of the estimates by at most 1 / (1 -
    gamma). It holds with sleeping bins: an absent bin takes the drawn bin's loss, an unbiased
    estimate of the learner's own with a smaller second moment.
    """

    guarantee = (
        "expected regret <= (4 sqrt(T B) + 1) / (1 - gamma) + gamma T against the best fixed bin,"
        " gains in [0, 1]"
    )

    def __init__(self, bins: int, gamma: float = 0.0, seed: int = 0) -> None:
        super().__init__(bins, gamma, seed)

    def probabilities(self) -> Floats:
        rate = 2.0 / math.sqrt(self.rounds + 1)
        return mix(tsallis_weights(-self.cumulative, rate), self.gamma)

    def update(self, gains: Floats) -> None:
        drawn, q = self._draw(gains)
        loss = np.where(q > 0.0, 0.0, np.nan)
        loss[drawn] = (1.0 - gains[drawn]) / q[drawn]
        self._advance(-fill_absent(loss, q))

    def regret_bound(self, rounds: int) -> float:
        return (4.0 * math.sqrt(rounds * self.bins) + 1.0) / (
            1.0 - self.gamma
        ) + self.gamma * rounds


def tsallis_weights(losses: Floats, rate: float) -> Floats:
    """argmin_q <q, losses> - (4 / rate) sum_i sqrt(q_i) over the simplex, by Newton's method.

    q_i = 4 / (rate (losses_i - x))^2. At x = min(losses) - 2 / rate the smallest loss alone has q =
    1, so the root lies at or below; the sum is convex in x and rises with it, so Newton's method
    descends to the root without passing it. Losses are taken above their minimum (q does not
    change), and at most 1e100 / rate above, where q is below 1e-199.
    """
    above = np.minimum(losses - losses.min(), 1e100 / rate)
    x = -2.0 / rate
    q = np.empty_like(above)
    for _ in range(100):
        q = 4.0 / (rate * (above - x)) ** 2
        excess = float(q.sum()) - 1.0
        if abs(excess) < 1e-12:
            break
        x -= excess / float(rate * (q**1.5).sum())
    return np.asarray(q / q.sum())


def make_adversary(
    name: str,
    bins: int,
    eta: float,
    gamma: float,
    beta: float,
    clip: float,
    seed: int,
    horizon: int,
    start: Floats | None = None,
) -> Adversary:
    """The named learner.

    `eta`, `gamma`, `beta`, `clip` and `start`, the first score, are those of `ema_hedge`; the
    no-regret learners set their own rates from their theorems and take only `gamma` (hedge,
    tsallis_inf) and `horizon` (exp3p).
    """
    if name == "ema_hedge":
        return EmaHedge(bins, eta, gamma, beta, clip, start)
    if name == "hedge":
        return Hedge(bins, gamma=gamma)
    if name == "exp3p":
        return Exp3P(bins, horizon=horizon, seed=seed)
    if name == "tsallis_inf":
        return TsallisInf(bins, gamma=gamma, seed=seed)
    raise OptionError(f"adversary={name!r} is none of ema_hedge, hedge, exp3p, tsallis_inf")


def scale_gains(gains: Floats, low: float, high: float) -> tuple[Floats, int]:
    """(B,) gains mapped from [low, high] to [0, 1] (NaN stays), and how many lay outside and were
    clipped; what is outside by rounding alone does not count."""
    unit = (gains - low) / (high - low)
    return np.clip(unit, 0.0, 1.0), count_outside(unit)


def _positive(name: str, value: float) -> None:
    if not (value > 0.0 and math.isfinite(value)):
        raise OptionError(f"{name}={value:g} must be positive and finite")


def _unit(name: str, value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise OptionError(f"{name}={value:g} must lie in [0, 1)")
