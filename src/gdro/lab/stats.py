"""Differences between methods trained with the same seeds and tested on the same prompts, with honest intervals.

X (S, P) is a score of seed s on held-out prompt p, and the score of a method is the lowest mean over some groups of
prompts (one group: a plain mean; the bins of difficulty: the worst bin). The difference from the baseline is paired in
both directions. In D_sp = mu + a_s + b_p + e_sp its variance is

    V = var(a) / S + var(b) / P + var(e) / (S P)  =  V_seeds + V_prompts - V_cells

where V_seeds comes from resampling seeds, V_prompts from resampling prompts alike for all seeds (each holds
var(e) / (S P) once), and V_cells = var(e) / (S P) follows from resampling prompts for each seed apart. Seeds are few,
so S - 1 of them are drawn, which makes V_seeds unbiased, and the interval is value +- t sqrt(V) with Student's t at
Satterthwaite's degrees of freedom: percentiles of a bootstrap over 5 seeds would cover 95 % far too seldom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.errors import GDROError
from gdro.core.types import Floats

RESAMPLES = 1000
_DEGREES = (*range(1, 16), 20, 30, 60, np.inf)
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
_T_975 = (*_T, 2.086, 2.042, 2.000, 1.960)


class StatisticsError(GDROError, ValueError):
    """Scores that cannot be compared; says which and why."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval; low and high are NaN where there is none."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0.0 or self.high < 0.0


def student_975(degrees: float) -> float:
    """Student's t at 97.5 %, linear in 1 / degrees between tabled ones (which errs to the wide side)."""
    if not degrees >= 1.0:
        raise StatisticsError(f"Student's t needs at least 1 degree of freedom, got {degrees}")
    at = [0.0 if np.isinf(known) else 1.0 / known for known in reversed(_DEGREES)]
    return float(np.interp(1.0 / degrees, at, _T_975[::-1]))


def seed_interval(values: ArrayLike) -> Estimate:
    """Mean over seeds with Student's interval; one seed has none."""
    sample = np.asarray(values, np.float64)
    mean = float(sample.mean()) if sample.size else float("nan")
    if sample.size < 2 or not np.isfinite(sample).all():
        return Estimate(mean, float("nan"), float("nan"))
    half = student_975(sample.size - 1) * float(sample.std(ddof=1)) / float(np.sqrt(sample.size))
    return Estimate(mean, mean - half, mean + half)


def paired_interval(
    method: ArrayLike, baseline: ArrayLike | None = None, groups: ArrayLike | None = None, *, seed: int = 0
) -> Estimate:
    """The method's score minus the baseline's, with an interval over seeds and prompts (95 %).

    Args:
        method: (S, P) scores; row s is one seed's run, column p one prompt.
        baseline: (S, P) of the same seeds and prompts; None for the method's own score.
        groups: (G, P) weights >= 0 of the prompts in each group; None is one group of all.
        seed: of the resampling.

    Raises:
        StatisticsError: shapes that do not fit, a score that is no number, or a group without prompts.
    """
    pair = [_checked(method)] + ([] if baseline is None else [_checked(baseline)])
    if len({scores.shape for scores in pair}) > 1:
        raise StatisticsError(f"the scores are {pair[0].shape} and {pair[1].shape}; pair the same seeds and prompts")
    seeds, prompts = pair[0].shape
    weights = np.ones((1, prompts)) if groups is None else np.asarray(groups, np.float64)
    if weights.shape[1:] != (prompts,) or (weights < 0).any() or not (weights.sum(axis=1) > 0).all():
        raise StatisticsError(f"groups must be (G, {prompts}) weights >= 0, each with a prompt; got {weights.shape}")

    def differ(by_seed: Floats, by_prompt: Floats) -> Floats:
        values = [lowest_group(scores, weights, by_seed, by_prompt) for scores in pair]
        return values[0] - values[1] if len(values) > 1 else values[0]

    value = float(differ(np.ones((1, seeds)), np.ones((1, 1, prompts)))[0])
    over_prompts = float(np.var(differ(np.ones((RESAMPLES, seeds)), _draws(prompts, 1, seed)), ddof=1))
    if seeds == 1:
        half = student_975(max(prompts - 1, 1)) * float(np.sqrt(over_prompts))
        return Estimate(value, value - half, value + half)
    over_seeds = float(np.var(differ(_seed_draws(seeds, seed), np.ones((1, 1, prompts))), ddof=1))
    apart = float(np.var(differ(np.ones((RESAMPLES, seeds)), _draws(prompts, seeds, seed)), ddof=1))
    half = _half_width(over_seeds, over_prompts, apart, seeds, prompts)
    return Estimate(value, value - half, value + half)


def lowest_group(scores: Floats, weights: Floats, by_seed: Floats, by_prompt: Floats) -> Floats:
    """(R,) lowest group mean of each resample; a group that a resample leaves empty does not count.

    Args:
        scores: (S, P).
        weights: (G, P).
        by_seed: (R, S) how often each seed is drawn.
        by_prompt: (R or 1, S or 1, P) how often each prompt is drawn, for each seed.
    """
    drawn, often = by_prompt.transpose(1, 0, 2), by_seed.T[:, :, None]
    sizes = drawn @ weights.T  # (S or 1, R or 1, G)
    totals = drawn @ (scores[:, :, None] * weights.T)  # (S, R or 1, G)
    whole = (often * sizes).sum(axis=0)
    means = (often * totals).sum(axis=0) / np.where(whole > 0, whole, np.nan)
    return np.asarray(np.fmin.reduce(means, axis=1))


def hardest_share(base: ArrayLike, share: float = 0.2) -> Floats:
    """(P,) weights of the prompts with the lowest base rate; those tied at the border share what is left.

    Args:
        base: (P,) success rates before training.
        share: of the prompts, in (0, 1].
    """
    rates = np.asarray(base, np.float64)
    if not rates.size or not 0.0 < share <= 1.0:
        raise StatisticsError(f"the hardest share needs prompts and a share in (0, 1]; got {rates.size} and {share}")
    wanted = share * rates.size
    border = np.sort(rates)[max(int(np.ceil(wanted - 1e-9)) - 1, 0)]
    below, tied = rates < border, rates == border
    return np.where(below, 1.0, np.where(tied, (wanted - below.sum()) / tied.sum(), 0.0))


def base_bins(base: ArrayLike, bins: int = 10, fewest: int = 8) -> tuple[list[int], Floats]:
    """Bins of equal width by base rate, hardest first: their numbers and (G, P) memberships.

    Bins of fewer than `fewest` prompts are left out, since the worst of many small bins is noise; when none is left,
    all prompts are one group with number -1.
    """
    rates = np.asarray(base, np.float64)
    number = np.minimum((rates * bins + 1e-9).astype(np.int64), bins - 1)
    kept = [b for b in range(bins) if (number == b).sum() >= fewest]
    if not kept:
        return [-1], np.ones((1, rates.size))
    return kept, np.array([number == b for b in kept], dtype=np.float64)


def area(xs: Sequence[float], ys: ArrayLike) -> Floats:
    """Mean height under the curve through (xs, ys), by trapezoids over the first axis.

    Args:
        xs: (E,) rising, E >= 2.
        ys: (E, ...).
    """
    at, heights = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    if at.size < 2 or not (np.diff(at) > 0).all() or len(heights) != at.size:
        raise StatisticsError("the area under a curve needs two or more points with rising x")
    return np.asarray(np.tensordot(np.diff(at), (heights[1:] + heights[:-1]) / 2, axes=1) / (at[-1] - at[0]))


def first_reach(xs: Sequence[float], ys: Sequence[float], target: float) -> float:
    """Where the curve first reaches `target`, linear between points; infinity when it never does."""
    points = list(zip(xs, ys, strict=True))
    for (x0, y0), (x1, y1) in zip([points[0], *points], points, strict=False):
        if y1 >= target:
            return float(x1 if y1 == y0 else x0 + (x1 - x0) * max(target - y0, 0.0) / (y1 - y0))
    return float("inf")


def _checked(scores: ArrayLike) -> Floats:
    array = np.asarray(scores, np.float64)
    if array.ndim != 2 or not array.size or not np.isfinite(array).all():
        raise StatisticsError(f"scores must be a (seeds, prompts) table of finite numbers; got shape {array.shape}")
    return array


def _half_width(over_seeds: float, over_prompts: float, apart: float, seeds: int, prompts: int) -> float:
    cells = max(seeds * apart - over_prompts, 0.0) / (seeds - 1)
    variance = max(over_seeds + over_prompts - cells, over_seeds, over_prompts)
    if variance == 0.0:
        return 0.0
    spread = over_seeds**2 / (seeds - 1) + over_prompts**2 / max(prompts - 1, 1)
    degrees = (over_seeds + over_prompts) ** 2 / spread
    return student_975(max(degrees, 1.0)) * float(np.sqrt(variance))


@lru_cache(maxsize=8)
def _draws(prompts: int, tables: int, seed: int) -> Floats:
    """(R, tables, P) how often each prompt comes up in P draws."""
    rng = np.random.default_rng((seed, 1, tables))
    rows = RESAMPLES * tables
    chosen = rng.integers(0, prompts, (rows, prompts)) + prompts * np.arange(rows)[:, None]
    return np.bincount(chosen.ravel(), minlength=rows * prompts).reshape(RESAMPLES, tables, prompts).astype(np.float64)


@lru_cache(maxsize=8)
def _seed_draws(seeds: int, seed: int) -> Floats:
    """(R, S) how often each seed comes up in S - 1 draws."""
    rng = np.random.default_rng((seed, 0))
    return rng.multinomial(seeds - 1, np.full(seeds, 1.0 / seeds), RESAMPLES).astype(np.float64)
