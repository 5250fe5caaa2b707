"""Rollout-GDRO's game (eqs. 17-21): one exponential-weights learner per bin over the arms
n_min..n_max, one price.

    arm loss      L_b(n) = -J_b(n) + mu n                                                   (20)

The price mu is what makes the bins' demand, sum_b share_b E_{p_b}[n], meet the budget nbar, BEFORE
the plan is made exact: the plan always meets the budget, so a price driven by what was realised
would never move.

Utilities J_b(n), and how each finds its price:

- `variance`: J_b(n) = -v_b / n, with v_b estimated online. Every arm's value is known after one
  visit, so the whole demand curve is, and the price that clears this batch is solved for: demand
  falls with mu, its slope is -sum_b share_b eta Var_{p_b}(n), and Newton's method kept inside a
  bracket finds the root. It is the fixed point of eq. 21 at every step. Following eq. 21 itself
  with a fixed alpha is stable only while alpha times that slope stays below 2, and no one
  alpha is: on a heavy tail, where most prompts are solved, the slope is that of arms all alike, eta
  Var(arms), 160 for arms 2 to 12 at eta 16, and the price swings from end to end. In units of the
  batch's mean variance, (v_b / vbar) nbar / n, so that a price of 1 / nbar makes identical bins
  demand nbar.
- `surrogate`: J_b(n) = minus the mean surrogate loss of the prompts of bin b that got n rollouts
  (18): only the arms that were played are updated. So that every arm is tried, each bin asks for an
  arm drawn from p_b, not for its mean. The price follows eq. 21 as the paper has it,

    mu <- clip(mu + alpha (4 / nbar)^2 (demand - nbar) / (1 + d), -mu_max, mu_max)           (21)

  with the paper's alpha at its nbar = 4, and with d plans on their way, since x <- x - g x(d rounds
  ago) is stable only below g = 2 sin(pi / (4 d + 2)).

With the utility `variance` the learners are smoothed best responses: p_b(n) ~ exp(-eta L_b(n)) is
close to a normal distribution around sqrt(v_b / mu), the shadow-price form of the square-root law
(eq. 31).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from gdro.core.adversaries import LARGEST_EXPONENT
from gdro.core.difficulty import bin_centres
from gdro.core.errors import OptionError
from gdro.core.signals import bin_means, moving_average, pooled_variance
from gdro.core.state import State, read_array, read_float
from gdro.core.types import UNSEEN, Floats, Ints

REFERENCE_ROLLOUTS = 4.0
"""The mean rollouts at which `price_step` is the alpha of eq. 21 (the paper's setting)."""

LARGEST_RELATIVE = 1e6
"""A bin absent from the batch may vary far more than the batch's mean; beyond this it wants the
largest arm anyway."""

Utility = Literal["variance", "surrogate"]
UTILITIES: tuple[Utility, ...] = ("variance", "surrogate")
CLEAR = 1e-9
"""The demand meets the budget to this share of it, where any price can make it so."""
MOST_ROUNDS = 100


class RolloutGame:
    """Arms, price and their learning. All arrays have B bins, and A = n_max - n_min + 1 arms.

    Args:
        edges: (B+1,) bin edges; before a bin is visited its variance is p(1-p) at the centre of its
            edges.
        arm_eta: rate of the exponential weights over arms; with utility `variance` up to nbar = 4,
            in proportion beyond.
        arm_gamma: uniform mixing over arms.
        arm_ema: weight of the newest observation in the estimates.
        price_step: alpha of eq. 21 at nbar = 4, of utility `surrogate`.
        price_limit: mu_max of eq. 21.

    Raises:
        OptionError: names the option that is out of range.
    """

    def __init__(
        self,
        edges: Floats,
        mean_rollouts: int,
        min_rollouts: int,
        max_rollouts: int,
        utility: Utility = "variance",
        arm_eta: float = 16.0,
        arm_gamma: float = 0.01,
        arm_ema: float = 0.4,
        price_step: float = 0.05,
        price_limit: float = 10.0,
    ) -> None:
        self.mean_rollouts, self.utility = mean_rollouts, utility
        self.arm_eta, self.arm_gamma, self.arm_ema = arm_eta, arm_gamma, arm_ema
        # Neighbouring arms differ in loss by about mu = 1 / nbar: the rate grows with nbar, or many
        # would be played alike.
        scale = max(1.0, mean_rollouts / REFERENCE_ROLLOUTS) if utility == "variance" else 1.0
        self.rate = arm_eta * scale
        self.price_step, self.price_limit = price_step, price_limit
        self._check()
        self.arms = np.arange(min_rollouts, max_rollouts + 1, dtype=np.float64)
        centre = bin_centres(edges)
        self.variance = centre * (1.0 - centre)
        self.arm_utility = np.zeros((len(centre), len(self.arms)))
        self.price = 0.0

    def _check(self) -> None:
        if self.utility not in UTILITIES:
            raise OptionError(f"utility={self.utility!r} is none of {', '.join(UTILITIES)}")
        for name, low, high in (("arm_gamma", 0.0, 1.0), ("arm_ema", 0.0, 1.0)):
            if not low <= getattr(self, name) <= high:
                raise OptionError(f"{name}={getattr(self, name):g} must lie in [{low:g}, {high:g}]")
        for name in ("arm_eta", "price_step", "price_limit"):
            if not (getattr(self, name) > 0.0 and math.isfinite(getattr(self, name))):
                raise OptionError(f"{name}={getattr(self, name):g} must be positive and finite")

    def arm_utilities(self, share: Floats, weights: Floats | None = None) -> Floats:
        """(B, A) J_b(n). With weights (B,) the variance counts w_b^2-fold (coupled games)."""
        if self.utility == "surrogate":
            return self.arm_utility
        noise = self.variance if weights is None else self.variance * weights**2
        mean = float(share @ noise) / max(float(share.sum()), 1e-300)
        with np.errstate(over="ignore"):
            relative = (
                np.minimum(noise / mean, LARGEST_RELATIVE) if mean > 0.0 else np.ones_like(noise)
            )
        return -np.outer(relative, self.mean_rollouts / self.arms)

    def arm_probabilities(self, utilities: Floats, price: float) -> Floats:
        """(B, A) p_b(n) = (1 - gamma) softmax(-eta L_b) + gamma / A."""
        losses = price * self.arms - utilities
        above = losses - losses.min(axis=1, keepdims=True)
        weights: Floats = np.exp(-np.minimum(self.rate * above, LARGEST_EXPONENT))
        weights /= weights.sum(axis=1, keepdims=True)
        mixed: Floats = (1.0 - self.arm_gamma) * weights + self.arm_gamma / len(self.arms)
        return mixed

    def demand(self, share: Floats, weights: Floats | None = None) -> tuple[Floats, float]:
        """(B,) E_{p_b}[n], the rollouts a prompt of each bin asks for, and the price at which it
        does."""
        utilities = self.arm_utilities(share, weights)
        price = (
            self.price if self.utility == "surrogate" else self._clearing_price(share, utilities)
        )
        return self.arm_probabilities(utilities, price) @ self.arms, price

    def _clearing_price(self, share: Floats, utilities: Floats) -> float:
        """The price at which the bins' demand is nbar; the nearest, where mixing keeps the demand
        off a bound."""
        total = float(share.sum())
        if total == 0.0:
            return 1.0 / self.mean_rollouts
        part, target = share / total, float(self.mean_rollouts)
        # Beyond these prices every bin plays its cheapest, or its largest, arm.
        reach = float(np.ptp(utilities)) + LARGEST_EXPONENT / self.rate
        low, high, price = -reach, reach, 1.0 / self.mean_rollouts
        for _ in range(MOST_ROUNDS):
            chances = self.arm_probabilities(utilities, price)
            mean = chances @ self.arms
            excess = float(part @ mean) - target
            if abs(excess) <= CLEAR * target or high - low <= 1e-15 * reach:
                break
            low, high = (price, high) if excess > 0.0 else (low, price)
            slope = self.rate * float(part @ (chances @ self.arms**2 - mean**2))
            newton = price + excess / slope if slope > 0.0 else math.nan
            price = newton if low < newton < high else 0.5 * (low + high)
        return price

    def draw(self, share: Floats, points: Floats) -> Floats:
        """(B,) an arm of each bin, drawn from p_b by the uniform numbers `points` (B,) in [0,
        1)."""
        chances = self.arm_probabilities(self.arm_utilities(share), self.price)
        reached = np.cumsum(chances, axis=1) <= points[:, None]
        return np.asarray(self.arms[np.minimum(reached.sum(axis=1), len(self.arms) - 1)])

    def move_price(self, demand: float, outstanding: int = 0) -> None:
        """Dual ascent on the demand of a batch, mean rollouts per prompt before projection (eq.
        21).

        Args:
            outstanding: plans made after that of this batch whose rewards are still to come.
        """
        step = self.price_step * (REFERENCE_ROLLOUTS / self.mean_rollouts) ** 2 / (1 + outstanding)
        moved = self.price + step * (demand - self.mean_rollouts)
        self.price = min(max(moved, -self.price_limit), self.price_limit)

    def observe_variance(self, bins: Ints, squares: Floats, counts: Ints, rates: Floats) -> None:
        """EMA of the within-prompt variance of each bin (`newest_variance`)."""
        newest = newest_variance(bins, squares, counts, rates, len(self.variance))
        self.variance = moving_average(self.variance, newest, self.arm_ema)

    def observe_losses(self, bins: Ints, counts: Ints, losses: Floats) -> None:
        """EMA of -loss for every (bin, rollouts) pair that was played; the others keep theirs.

        A prompt whose plan was amended to rollouts that are no arm, because some were lost or came
        in rounds, says nothing of an arm.
        """
        arms = len(self.arms)
        arm = counts - int(self.arms[0])
        played = (bins != UNSEEN) & (arm >= 0) & (arm < arms)
        cell = np.where(played, bins * arms + arm, UNSEEN)
        newest = -bin_means(losses, cell, self.arm_utility.size).reshape(self.arm_utility.shape)
        self.arm_utility = moving_average(self.arm_utility, newest, self.arm_ema)

    def state_dict(self) -> State:
        """Price and estimates."""
        return {
            "price": self.price,
            "variance": self.variance.copy(),
            "arm_utility": self.arm_utility.copy(),
        }

    def load_state_dict(self, state: State) -> None:
        """Restore price and estimates."""
        self.price = read_float(state, "price")
        self.variance = read_array(state, "variance", self.variance)
        self.arm_utility = read_array(state, "arm_utility", self.arm_utility)


def newest_variance(bins: Ints, squares: Floats, counts: Ints, rates: Floats, count: int) -> Floats:
    """(B,) what a batch shows of the variance of one rollout in each bin; NaN for a bin that it
    lacks.

    `pooled_variance`, but prompts with a single rollout show none: for a bin of nothing else, the
    mean of p (1 - p) by the success rates that the estimator had for them stands in. Without that a
    bin that fell to one rollout a prompt would be taken for one without variance, and stay there
    for ever.

    Args:
        bins: (M,) bins; UNSEEN prompts are left out.
        squares: (M,) sums of squared deviations of the prompts' rewards, rescaled to [0, 1].
        counts: (M,) rollouts.
        rates: (M,) success rates before the visit; NaN where nothing was known.
    """
    pooled = pooled_variance(squares, counts, bins, count)
    expected = bin_means(rates * (1.0 - rates), bins, count)
    return np.where(np.isnan(pooled), expected, pooled)
