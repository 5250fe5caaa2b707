"""How many prompts, how many rollouts of each, when their product is fixed: what the noise of a
step says.

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

from gdro.core.errors import OptionError


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
    _check(within, between, known)
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
    _check(within, between, known)
    if within == 0.0:
        return 1.0
    return math.inf if between == 0.0 else max(1.0, 1.0 + math.sqrt(within / between) - known)


def _check(within: float, between: float, known: float) -> None:
    for name, value in (("within", within), ("between", between), ("known", known)):
        if not (value >= 0.0 and math.isfinite(value)):
            raise OptionError(f"{name}={value} must be finite and at least 0")
