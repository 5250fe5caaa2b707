"""Variances of policy gradients from inner products of scores.

Prompt i contributes g_i = (w_i / n_i) sum_j A_ij s_ij to a batch of M prompts (over M). "Variance"
is the trace of the covariance matrix. With scores s_1..s_N of one prompt, their Gram matrix G and
their rewards r:

- of one rollout against the true baseline, (r - p) s:  E[(r - p)^2 |s|^2] - |grad p|^2. This is the
  v_i of the square-root law; the law's model of it is a constant times Var(r), which is p (1 - p)
  for right and wrong.
- of a group of n rollouts with its own advantages, V_i(n) = E |g_A - g_B|^2 / 2 over independent
  groups A and B, here
  over disjoint subsets of the N rollouts: unbiased for every n <= N / 2 and every advantage. It is
  v_i / n and what the baseline of n rollouts adds.

The mean of g_i depends on n too, unless the advantage is `rloo` (`shrinkage`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb

import numpy as np

from gdro.core.advantages import AdvantageKind, group_advantages
from gdro.core.errors import OptionError
from gdro.core.types import Floats, Ints
from gdro.lab.stats import Estimate

RESAMPLES = 1000
DRAWS = 200


def rollout_variance(gram: Floats, rewards: Floats, baseline: float) -> float:
    """Variance of (r - baseline) s from N scores; unbiased where `baseline` is fixed or from other
    rollouts.

    Args:
        gram: (N, N) inner products of the scores, N >= 2.
        rewards: (N,).
    """
    centred = rewards - baseline
    products = gram * np.outer(centred, centred)
    squares = float(np.trace(products))
    count = len(rewards)
    return squares / count - (float(products.sum()) - squares) / (count * (count - 1))


def group_variance(
    gram: Floats,
    rewards: Floats,
    sizes: Sequence[int],
    kind: AdvantageKind,
    *,
    ddof: int = 0,
    clip: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """(S,) variance of (1/n) sum_j A_j s_j for groups of each size n.

    Args:
        gram: (N, N) inner products of the scores.
        rewards: (N,).
        sizes: (S,) each at least 1 and at most N / 2.
        ddof, clip: of the advantages.
        draws: pairs of disjoint subsets averaged over.

    Raises:
        OptionError: a size that two disjoint subsets of N rollouts cannot have.
    """
    count = len(rewards)
    if min(sizes) < 1 or 2 * max(sizes) > count:
        raise OptionError(
            f"groups of {min(sizes)} to {max(sizes)} need {2 * max(sizes)} rollouts a prompt, got"
            f" {count}"
        )
    if np.ptp(rewards) == 0.0:
        return np.zeros(len(sizes))
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(count), (draws, 1)), axis=1)
    return np.array(
        [_half_difference(gram, rewards, orders[:, : 2 * n], kind, ddof, clip) for n in sizes]
    )


def _half_difference(
    gram: Floats, rewards: Floats, chosen: Ints, kind: AdvantageKind, ddof: int, clip: float | None
) -> float:
    """Mean of |g_A - g_B|^2 / 2, with A and B the halves of each row of `chosen` (draws, 2n)."""
    draws, n = len(chosen), chosen.shape[1] // 2
    groups = rewards[chosen].reshape(2 * draws, n)
    advantages = np.concatenate(group_advantages(list(groups), kind, ddof=ddof, clip=clip)).reshape(
        draws, 2 * n
    )
    sign = np.repeat([1.0 / n, -1.0 / n], n)
    factors = np.zeros((draws, len(rewards)))
    np.put_along_axis(factors, chosen, advantages * sign, axis=1)
    return float(((factors @ gram) * factors).sum() / (2 * draws))


def shrinkage(rate: float, n: int, kind: AdvantageKind, ddof: int = 0) -> float:
    """The factor f in E[(1/n) sum_j A_j s_j] = f grad p, for rewards of 0 and 1 with success rate p
    = `rate`.

    Given c successes of n, scores average grad p / p over the right rollouts and -grad p / (1 - p)
    over the wrong ones. So f = 1 for rloo, (n - 1) / n for dr_grpo, and E[sqrt(c (n - c))] / (n p
    (1 - p)) for grpo with ddof 0, which lies between sqrt(n - 1) (p near 0 or 1) and 1 / sqrt(p (1
    - p)) (n large).
    """
    if kind == "rloo":
        return 1.0 if n > 1 else 0.0
    if kind == "dr_grpo":
        return (n - 1) / n
    chances = np.array([comb(n, c) * rate**c * (1 - rate) ** (n - c) for c in range(n + 1)])
    spread = np.sqrt(np.arange(n + 1) * np.arange(n, -1, -1)) / n
    return float(chances @ spread) / (rate * (1 - rate)) * (np.sqrt((n - 1) / n) if ddof else 1.0)


def allocation_gains(variance: Floats, model: Floats) -> tuple[float, float]:
    """Variance over that at equal rollouts, of the law by `model`'s variances and of the best plan;
    no bounds.

    With M prompts, sum_i v_i / n_i is M mean(v) / nbar at equal rollouts, M mean(sqrt m) mean(v /
    sqrt m) / nbar at n_i ~ sqrt(m_i), and M mean(sqrt v)^2 / nbar at best. A prompt whose v is 0
    costs nothing wherever rollouts go.
    """
    variance = np.maximum(variance, 0.0)
    root = np.sqrt(model)
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(variance > 0.0, variance / root, 0.0)
    equal = float(variance.mean())
    return float(root.mean() * cost.mean() / equal), float(np.sqrt(variance).mean() ** 2 / equal)


def power_slope(model: Floats, variance: Floats) -> float:
    """The b of v = a m^b, fitted to M prompts as a Poisson regression on log m: no logarithm of a
    noisy v is taken.

    Its equation, that log m has the same mean under weights m^b as under weights v, rises with b:
    it is bisected over -8..8. NaN where it has no solution there.

    Args:
        model: (M,) positive.
        variance: (M,) with a positive sum; single ones may be negative by noise.
    """
    logs = np.log(model)
    wanted = float(variance @ logs / variance.sum())

    def reached(slope: float) -> float:
        weights = np.exp(slope * (logs - logs.max()))
        return float(weights @ logs / weights.sum())

    low, high = -8.0, 8.0
    if not reached(low) < wanted < reached(high):
        return float("nan")
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < wanted else (low, middle)
    return low


def over_prompts(statistic: Callable[[Ints], float], size: int, seed: int) -> Estimate:
    """A statistic of the rows 0..size-1 with a 95 % bootstrap interval: percentiles over resampled
    rows."""
    rng = np.random.default_rng((seed, size))
    drawn = [statistic(rng.integers(0, size, size)) for _ in range(RESAMPLES)]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return Estimate(statistic(np.arange(size)), float(low), float(high))
