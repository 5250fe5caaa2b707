"""Theory beyond the paper as functions, for its users and the tests: the objective that a weight
pursues, and how many prompts, with how many rollouts of each, when their product is fixed.

A step has N rollouts, n of each of N / n prompts drawn alike. With B the variance of a prompt's
mean gradient between prompts, and W that of one rollout's gradient within a prompt when its reward
is compared with the prompt's true success probability, the mean gradient of the step has the
variance

    V(n) = (W (1 + 1 / (T + n - 1)) + n B) / N

The second part is the law of total variance: rollouts of one prompt share its mean gradient, so
more prompts always help. The first is the price of the baseline. It is the leave-one-out posterior
mean m of p ~ Beta(a, b), T = a + b rollouts' worth of knowledge and n - 1 more from the group:

    E[(r - m)^2] = E[p (1 - p)] (1 + 1 / (T + n - 1))

exactly: given the other rollouts r is right with chance m, so E (r - m)^2 = E m (1 - m), and p then
has a Beta posterior of strength S = T + n - 1, under which E p (1 - p) = m (1 - m) S / (S + 1).
(That the gradient's noise is in proportion to the square of the advantage is the model; all else is
exact.) T = 0 is RLOO, whose groups have nothing but each other to compare with: there V is infinite
at n = 1 and smallest at n = 1 + sqrt(W / B). What is known of a prompt beforehand takes the place
of rollouts one for one:

    n* = max(1, 1 + sqrt(W / B) - T)

So GRPO needs its groups, and a controller with baselines of its own (`baseline: posterior`) needs
them less: the same rollouts are worth more on more prompts. One rollout a prompt and a value
tracked per prompt: Xu and Ding (2025, arXiv 2509.13232).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.errors import OptionError
from gdro.core.types import Floats


def objective_slope(weights: ArrayLike, rates: ArrayLike) -> Floats:
    """U'(p) of the objective that weights by the number of right rollouts pursue, for rewards of 0
    and 1.

    When a group of n rollouts with c right has its centred advantages r - mean multiplied by w(c),
    its mean gradient over all outcomes is U'(p) grad p, with the Bernstein polynomial

        U'(p) = (n-1)/n sum_{c=1}^{n-1} C(n-2, c-1) p^(c-1) (1-p)^(n-1-c) w(c)

    Proof: given c, the sum of (r_j - c/n) times the score s_j has mean
    c (n-c)/n (E[s | right] - E[s | wrong]), where E[s | right] = grad p / p and
    E[s | wrong] = -grad p / (1-p); so the mean gradient given c is
    c (n-c) / (n^2 p (1-p)) grad p, and C(n, c) c (n-c) = n (n-1) C(n-2, c-1). GRPO's own
    w(c) = n / sqrt(c (n-c)) is one such weight, MaxRL's n / c another, and pass@k, k < n, has
    C(n-1-c, k-1) / C(n-2, k-1).

    Args:
        weights: (n-1,) w(1)..w(n-1), finite; groups without a right or without a wrong rollout have
            no gradient.
        rates: (P,) success probabilities in [0, 1].

    Raises:
        OptionError: weights that are not a non-empty flat list of finite numbers, or a rate outside
            [0, 1].
    """
    values, p = np.asarray(weights, np.float64), np.asarray(rates, np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise OptionError(
            f"weights must be a flat list of one or more finite numbers, got {weights!r:.80}"
        )
    if p.ndim != 1 or not ((p >= 0.0) & (p <= 1.0)).all():
        raise OptionError(f"rates must be a flat list of numbers in [0, 1], got {rates!r:.80}")
    degree = values.size - 1
    i = np.arange(degree + 1)
    binomial = np.array([math.comb(degree, k) for k in i], np.float64)
    basis = binomial * p[:, None] ** i * (1.0 - p[:, None]) ** (degree - i)
    return np.asarray(values.size / (values.size + 1.0) * (basis @ values))


def posterior_slope(rates: ArrayLike, rollouts: int, a: float, b: float) -> Floats:
    """U'(p) of the objective that Live-GDRO's advantages pursue, for rewards of 0 and 1
    (`parts.baselines.Posterior`).

    With Beta(a, b) before a visit of n rollouts, c of them right, T = a + b + n and mu_c = (a + c)
    / T, an advantage is (r - mu_c) T / (T - 1) / sqrt(mu_c (1 - mu_c)). Its mean over all outcomes,
    times the score, is U'(p) grad p with the Bernstein polynomial

        U'(p) = T/(T-1) sum_{c<n} C(n-1, c) p^c (1-p)^(n-1-c)
                                  (sqrt((1 - mu_{c+1}) / mu_{c+1}) + sqrt(mu_c / (1 - mu_c)))

    Proof: a right rollout's score has mean grad p / p, a wrong one's -grad p / (1 - p), and c C(n,
    c) = n C(n-1, c-1). Without the division by the deviation every bracket is (1 - mu_{c+1}) + mu_c
    = (T - 1) / T and U' = 1: the baseline biases nothing. The deviation holds r_j too; that
    reweights by p, by what the polynomial says and no more.

    Args:
        rates: (P,) success probabilities in [0, 1].
        rollouts: n >= 1.
        a, b: of the belief before the visit, above 0.

    Raises:
        OptionError: a rate outside [0, 1], or an argument out of range.
    """
    p = np.asarray(rates, np.float64)
    if p.ndim != 1 or not ((p >= 0.0) & (p <= 1.0)).all():
        raise OptionError(f"rates must be a flat list of numbers in [0, 1], got {rates!r:.80}")
    if rollouts < 1 or not (a > 0.0 and b > 0.0):
        raise OptionError(f"rollouts={rollouts} must be at least 1, a={a} and b={b} above 0")
    total = a + b + rollouts
    mu = (a + np.arange(rollouts + 1)) / total
    bracket = np.sqrt((1.0 - mu[1:]) / mu[1:]) + np.sqrt(mu[:-1] / (1.0 - mu[:-1]))
    c = np.arange(rollouts)
    binomial = np.array([math.comb(rollouts - 1, k) for k in c], np.float64)
    basis = binomial * p[:, None] ** c * (1.0 - p[:, None]) ** (rollouts - 1 - c)
    return np.asarray(total / (total - 1.0) * (basis @ bracket))


def spread_variance(rollouts: int, within: float, between: float, known: float = 0.0) -> float:
    """N V(n), the variance of a step's mean gradient times its rollouts; infinite where there is no
    baseline.

    Args:
        rollouts: n >= 1, rollouts of a prompt.
        within: W >= 0, variance of one rollout's gradient within a prompt, against the true success
            probability.
        between: B >= 0, variance of the mean gradient between prompts.
        known: T >= 0, rollouts' worth of knowledge of a prompt before its visit; 0 for RLOO.

    Raises:
        OptionError: an argument out of range.
    """
    _check_spread(within, between, known)
    if rollouts < 1:
        raise OptionError(f"rollouts={rollouts} must be at least 1")
    strength = known + rollouts - 1
    if strength == 0.0:
        return math.inf if within > 0.0 else between
    return within * (1.0 + 1.0 / strength) + rollouts * between


def best_group_size(within: float, between: float, known: float = 0.0) -> float:
    """n* >= 1, the real number of rollouts a prompt at which `spread_variance` is smallest;
    infinite without B.

    Raises:
        OptionError: an argument out of range.
    """
    _check_spread(within, between, known)
    if within == 0.0:
        return 1.0
    return math.inf if between == 0.0 else max(1.0, 1.0 + math.sqrt(within / between) - known)


def _check_spread(within: float, between: float, known: float) -> None:
    for name, value in (("within", within), ("between", between), ("known", known)):
        if not (value >= 0.0 and math.isfinite(value)):
            raise OptionError(f"{name}={value} must be finite and at least 0")
