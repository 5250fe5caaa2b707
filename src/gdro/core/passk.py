"""pass@k and mean@k with bootstrap intervals: overall, by group, and of the worst group."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.errors import OptionError, RewardError
from gdro.core.types import Floats


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % bootstrap interval, and the number of prompts behind it."""

    value: float
    low: float
    high: float
    prompts: int


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> Floats:
    """Unbiased probability that one of k rollouts is correct: 1 - C(n-c, k) / C(n, k) (Chen et al.,
    2021).

    Computed as -expm1(sum_{j<k} log1p(-c / (n-j))), which neither overflows nor cancels for large
    n.

    Args:
        n: rollouts of each prompt, any shape.
        c: correct ones among them, same shape.
        k: at least 1, at most every n.

    Returns:
        pass@k, same shape.

    Raises:
        RewardError: k < 1, an n < k, a c outside 0..n, or any that is no whole number.
    """
    total, correct = _counts(n, c, k)
    surely = total - correct < k
    offsets = np.arange(k, dtype=np.float64)
    remaining = total[..., None] - offsets
    fraction = np.where(surely[..., None], 0.0, correct[..., None] / remaining)
    return np.where(surely, 1.0, -np.expm1(np.log1p(-fraction).sum(axis=-1)))


def mean_at_k(n: ArrayLike, c: ArrayLike) -> Floats:
    """Fraction of correct rollouts of each prompt (pass@1): c / n. Raises RewardError as
    `pass_at_k`."""
    total, correct = _counts(n, c, 1)
    return np.asarray(correct / total)


def _counts(n: ArrayLike, c: ArrayLike, k: int) -> tuple[Floats, Floats]:
    """n and c as arrays of one shape, checked for pass@k."""
    total, correct = np.broadcast_arrays(np.asarray(n, np.float64), np.asarray(c, np.float64))
    if (
        not (np.mod(total, 1.0) == 0.0).all()
        or not (np.mod(correct, 1.0) == 0.0).all()
        or k != int(k)
    ):
        raise RewardError(f"pass@{k} is of whole numbers: rollouts n, correct ones c, and k")
    if k < 1 or (total < k).any():
        raise RewardError(
            f"pass@{k} needs k >= 1 and at least {k} rollouts of every prompt; the fewest is"
            f" {total.min():g}"
        )
    if (correct < 0).any() or (correct > total).any():
        raise RewardError("the number of correct rollouts must lie between 0 and n")
    return total, correct


def bootstrap(
    values: ArrayLike, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Mean over prompts with a percentile bootstrap interval; prompts are the resampled unit.

    Args:
        values: (M,) one finite number a prompt; M = 0 gives NaN.
        resamples: at least 1.
        level: of the interval, in (0, 1).

    Raises:
        RewardError: a value is not a finite number.
        OptionError: resamples or level out of range.
    """
    sample = np.asarray(values, np.float64)
    if sample.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    if sample.ndim != 1 or not np.isfinite(sample).all():
        raise RewardError("the bootstrap needs a flat list of finite numbers, one a prompt")
    if resamples < 1 or not 0.0 < level < 1.0:
        raise OptionError(f"resamples={resamples} must be at least 1, level={level} inside (0, 1)")
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, 2**20 // sample.size)
    for start in range(0, resamples, block):
        draws = generator.integers(
            0, sample.size, size=(min(block, resamples - start), sample.size)
        )
        means[start : start + block] = sample[draws].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sample.mean()), float(low), float(high), sample.size)


def by_group(
    values: ArrayLike, groups: Sequence[Hashable], *, seed: int = 0
) -> dict[Hashable, Interval]:
    """`bootstrap` of each group of prompts, in the order in which the groups first appear."""
    sample = np.asarray(values, np.float64)
    if len(sample) != len(groups):
        raise RewardError(f"{len(groups)} groups for {len(sample)} values; give one group a prompt")
    members: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    return {group: bootstrap(sample[places], seed=seed) for group, places in members.items()}


def worst_group(groups: dict[Hashable, Interval]) -> tuple[Hashable, Interval]:
    """The group with the lowest estimate, the first of equals.

    Raises:
        RewardError: there is no group.
    """
    if not groups:
        raise RewardError("there is no group to take the worst of")
    return min(groups.items(), key=lambda item: item[1].value)
