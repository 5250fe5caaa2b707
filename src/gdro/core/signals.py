"""What the data adversary looks at: one number a prompt, averaged over each bin of the batch (eq.
13).

- `failure`: 1 - mean reward, rescaled to [0, 1]; the bin's expected loss L_b = -J_b (paper,
  footnote 3).
- `variance`: within-prompt reward variance, p(1-p) for binary rewards, rescaled to [0, 1/4]: where
  a gradient exists.
- `surrogate`: the GRPO loss of eqs. 6 and 7. On-policy the advantages of a group sum to 0, so it is
  0 in every bin and tells the adversary nothing; `informative` says so.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.ragged import LARGEST, Ragged
from gdro.core.types import UNSEEN, Floats, Ints

Signal = Literal["failure", "variance", "surrogate"]

ROUNDING = 1e-6
"""Engines hand rewards over in float32: a difference of this share of their scale is none."""

INFORMATIVE_SPREAD = 0.01
"""Weights that differ by less than 1 % between bins steer nothing."""


def rescale(rewards: Ragged, low: float, high: float) -> tuple[Ragged, int]:
    """Rewards mapped from [low, high] to [0, 1], and how many lay outside and were moved to the
    nearer end.

    What float32 can make of an end of the range is moved there too, and not counted.
    """
    with np.errstate(over="ignore"):
        unit = (rewards.values - low) / (high - low)
    return rewards.map(np.clip(unit, 0.0, 1.0)), count_outside(unit)


def count_outside(unit: Floats) -> int:
    """How many numbers lie outside of [0, 1] by more than rounding."""
    return int(((unit < -ROUNDING) | (unit > 1.0 + ROUNDING)).sum())


def failure(unit_rewards: Ragged) -> Floats:
    """(M,) 1 - mean reward of each prompt, in [0, 1]."""
    return 1.0 - unit_rewards.mean()


def variance(unit_rewards: Ragged) -> Floats:
    """(M,) unbiased within-prompt variance; NaN for a single rollout, which shows none."""
    spare = unit_rewards.counts - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spare > 0, unit_rewards.sum_of_squares() / spare, np.nan)


def bin_means(values: ArrayLike, bins: Ints, count: int) -> Floats:
    """(B,) mean over the prompts of each bin (eq. 13); NaN where the batch has none.

    UNSEEN prompts and NaN values are left out. Values are divided before they are added: +-1e308
    stays finite.
    """
    sample = np.asarray(values, np.float64)
    use = (bins != UNSEEN) & ~np.isnan(sample)
    sample, bins = np.clip(sample[use], -LARGEST, LARGEST), bins[use]
    size = np.bincount(bins, minlength=count)
    share = np.divide(1.0, size, out=np.full(count, np.nan), where=size > 0)
    means = np.bincount(bins, weights=sample * share[bins], minlength=count)
    return np.where(size > 0, means, np.nan)


def pooled_variance(squares: Floats, counts: Ints, bins: Ints, count: int) -> Floats:
    """(B,) unbiased within-prompt variance of one rollout, pooled over the prompts of each bin: sum
    of squared deviations over sum of (n - 1). NaN for a bin without a prompt of two rollouts.

    Args:
        squares: (M,) sums of squared deviations of the prompts' rewards from their means.
        counts: (M,) rollouts.
        bins: (M,) bins; UNSEEN prompts are left out.
        count: B.
    """
    use = bins != UNSEEN
    freedom = np.bincount(bins[use], weights=(counts - 1)[use], minlength=count)
    total = np.bincount(bins[use], weights=squares[use], minlength=count)
    return np.asarray(np.divide(total, freedom, out=np.full(count, np.nan), where=freedom > 0))


def moving_average(old: Floats, newest: Floats, share: float) -> Floats:
    """(1 - share) old + share newest; where the newest is NaN, for what was not seen, the old."""
    return np.where(np.isnan(newest), old, (1.0 - share) * old + share * newest)


def bin_demand(rollouts: Ints, bins: Ints, count: int, mean: int) -> Floats:
    """(B,) mean rollouts of the prompts of each bin; nbar for a bin that the batch lacks."""
    demand = bin_means(rollouts, bins, count)
    return np.where(np.isnan(demand), float(mean), demand)


def bin_shares(bins: Ints, count: int) -> Floats:
    """(B,) fraction of the batch's prompts in each bin; with the UNSEEN fraction they sum to 1."""
    return np.bincount(bins[bins != UNSEEN], minlength=count) / len(bins)


def spread(weights: Floats) -> float:
    """Largest over smallest weight of the bins, minus 1; 0 when fewer than two bins have one."""
    present = weights[~np.isnan(weights)]
    return float(present.max() / present.min() - 1.0) if present.size > 1 else 0.0


def informative(weights: Floats) -> bool:
    """Whether the adversary's weights differ between bins by at least 1 %."""
    return spread(weights) >= INFORMATIVE_SPREAD
