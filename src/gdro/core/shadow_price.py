"""Rollout-GDRO's game (eqs. 17-21): one exponential-weights learner per bin over the arms n_min..n_max, one price.

    arm loss      L_b(n) = -J_b(n) + mu n                                                   (20)
    price         mu <- clip(mu + alpha (4 / nbar)^2 (demand - nbar), -mu_max, mu_max)      (21)

with demand = sum_b share_b E_{p_b}[n], taken BEFORE the plan is made exact: the plan always meets the budget, so a
price driven by what was realised would never move. At the paper's nbar = 4 this is its step. The demand answers the
price with a slope of -nbar^2 / 2 (eq. 31 at mu = 1 / nbar), so without the factor the price would swing from end to end
at nbar = 16. With d plans on their way the demand is d rounds old, and x <- x - g x(d rounds ago) is stable only below
g = 2 sin(pi / (4 d + 2)); here g = 8 alpha, .4 at the default. So alpha is divided by 1 + d.

Utilities J_b(n):

- `variance`: J_b(n) = -v_b / n, with v_b estimated online. Every arm's value is known after one visit. In units of
  the batch's mean variance, (v_b / vbar) nbar / n, so that a price of 1 / nbar makes identical bins demand nbar.
- `surrogate`: J_b(n) = minus the mean surrogate loss of the prompts of bin b that got n rollouts (18): only the arms
  that were played are updated. So that every arm is tried, each bin asks for an arm drawn from p_b, not for its mean.

With the utility `variance` the learners are smoothed best responses: p_b(n) ~ exp(-eta L_b(n)) is close to a normal
distribution around sqrt(v_b / mu), the shadow-price form of the square-root law (eq. 31).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from gdro.core.adversaries import LARGEST_EXPONENT
from gdro.core.errors import OptionError
from gdro.core.signals import bin_means
from gdro.core.state import State, read_array, read_float
from gdro.core.types import UNSEEN, Floats, Ints

REFERENCE_ROLLOUTS = 4.0
"""The mean rollouts at which `price_step` is the alpha of eq. 21 (the paper's setting)."""

LARGEST_RELATIVE = 1e6
"""A bin absent from the batch may vary far more than the batch's mean; beyond this it wants the largest arm anyway."""

Utility = Literal["variance", "surrogate"]
UTILITIES: tuple[Utility, ...] = ("variance", "surrogate")


class RolloutGame:
    """Arms, price and their learning. All arrays have B bins, and A = n_max - n_min + 1 arms.

    Args:
        edges: (B+1,) bin edges; before a bin is visited its variance is p(1-p) at the centre of its edges.
        arm_eta: rate of the exponential weights over arms.
        arm_gamma: uniform mixing over arms.
        arm_ema: weight of the newest observation in the estimates.
        price_step: alpha of eq. 21 at nbar = 4.
        price_limit: mu_max.

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
        self.price_step, self.price_limit = price_step, price_limit
        self._check()
        self.arms = np.arange(min_rollouts, max_rollouts + 1, dtype=np.float64)
        centre = (edges[1:] + edges[:-1]) / 2.0
        self.variance = centre * (1.0 - centre)
        self.arm_utility = np.zeros((len(centre), len(self.arms)))
        self.price = 1.0 / mean_rollouts if utility == "variance" else 0.0

    def _check(self) -> None:
        if self.utility not in UTILITIES:
            raise OptionError(f"utility={self.utility!r} is none of {', '.join(UTILITIES)}")
        for name, low, high in (("arm_gamma", 0.0, 1.0), ("arm_ema", 0.0, 1.0)):
            if not low <= getattr(self, name) <= high:
                raise OptionError(f"{name}={getattr(self, name):g} must lie in [{low:g}, {high:g}]")
        for name in ("arm_eta", "price_step", "price_limit"):
            if not (getattr(self, name) > 0.0 and math.isfinite(getattr(self, name))):
                raise OptionError(f"{name}={getattr(self, name):g} must be positive and finite")

    def arm_losses(self, share: Floats, weights: Floats | None = None) -> Floats:
        """(B, A) L_b(n) of eq. 20. With weights (B,) the variance counts w_b^2-fold (coupled games)."""
        if self.utility == "surrogate":
            return -self.arm_utility + self.price * self.arms
        noise = self.variance if weights is None else self.variance * weights**2
        mean = float(share @ noise) / max(float(share.sum()), 1e-300)
        with np.errstate(over="ignore"):
            relative = np.minimum(noise / mean, LARGEST_RELATIVE) if mean > 0.0 else np.ones_like(noise)
        return np.outer(relative, self.mean_rollouts / self.arms) + self.price * self.arms

    def arm_probabilities(self, losses: Floats) -> Floats:
        """(B, A) p_b(n) = (1 - gamma) softmax(-eta L_b) + gamma / A."""
        above = losses - losses.min(axis=1, keepdims=True)
        weights: Floats = np.exp(-np.minimum(self.arm_eta * above, LARGEST_EXPONENT))
        weights /= weights.sum(axis=1, keepdims=True)
        mixed: Floats = (1.0 - self.arm_gamma) * weights + self.arm_gamma / len(self.arms)
        return mixed

    def demand(self, share: Floats, weights: Floats | None = None) -> Floats:
        """(B,) E_{p_b}[n], the rollouts a prompt of each bin asks for at today's price."""
        return self.arm_probabilities(self.arm_losses(share, weights)) @ self.arms

    def draw(self, share: Floats, points: Floats) -> Floats:
        """(B,) an arm of each bin, drawn from p_b by the uniform numbers `points` (B,) in [0, 1)."""
        reached = np.cumsum(self.arm_probabilities(self.arm_losses(share)), axis=1) <= points[:, None]
        return np.asarray(self.arms[np.minimum(reached.sum(axis=1), len(self.arms) - 1)])

    def move_price(self, demand: float, outstanding: int = 0) -> None:
        """Dual ascent on the demand of a batch, mean rollouts per prompt before projection (eq. 21).

        Args:
            outstanding: plans made after that of this batch whose rewards are still to come.
        """
        step = self.price_step * (REFERENCE_ROLLOUTS / self.mean_rollouts) ** 2 / (1 + outstanding)
        moved = self.price + step * (demand - self.mean_rollouts)
        self.price = min(max(moved, -self.price_limit), self.price_limit)

    def observe_variance(self, bins: Ints, squares: Floats, counts: Ints) -> None:
        """EMA of the within-prompt variance of each bin, pooled as sum of squares / sum of (n - 1).

        Args:
            bins: (M,) bins; UNSEEN prompts are left out.
            squares: (M,) sums of squared deviations of the prompts' rewards.
            counts: (M,) rollouts; a single rollout shows no variance.
        """
        use = bins != UNSEEN
        freedom = np.bincount(bins[use], weights=(counts - 1)[use], minlength=len(self.variance))
        total = np.bincount(bins[use], weights=squares[use], minlength=len(self.variance))
        newest = np.divide(total, freedom, out=self.variance.copy(), where=freedom > 0)
        self.variance = (1.0 - self.arm_ema) * self.variance + self.arm_ema * newest

    def observe_losses(self, bins: Ints, counts: Ints, losses: Floats) -> None:
        """EMA of -loss for every (bin, rollouts) pair that was played; the others keep theirs."""
        arms = len(self.arms)
        arm = counts - int(self.arms[0])
        cell = np.where(bins == UNSEEN, UNSEEN, bins * arms + arm)
        newest = -bin_means(losses, cell, self.arm_utility.size).reshape(self.arm_utility.shape)
        moved = (1.0 - self.arm_ema) * self.arm_utility + self.arm_ema * newest
        self.arm_utility = np.where(np.isnan(newest), self.arm_utility, moved)

    def state_dict(self) -> State:
        """Price and estimates."""
        return {"price": self.price, "variance": self.variance.copy(), "arm_utility": self.arm_utility.copy()}

    def load_state_dict(self, state: State) -> None:
        """Restore price and estimates."""
        self.price = read_float(state, "price")
        self.variance = read_array(state, "variance", self.variance)
        self.arm_utility = read_array(state, "arm_utility", self.arm_utility)
