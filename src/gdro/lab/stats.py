"""Differences between methods trained with the same seeds and tested on the same prompts, with
honest intervals.

X (S, P) is a score of seed s on held-out prompt p, and the score of a method is the lowest mean
over some groups of prompts (one group: a plain mean; the tiers of difficulty: the worst tier). The
difference from the baseline is paired in both directions. In D_sp = mu + a_s + b_p + e_sp its
variance is

    V = var(a) / S + var(b) / P + var(e) / (S P)  =  V_seeds + V_prompts - V_cells

where V_seeds comes from resampling seeds, V_prompts from resampling prompts alike for all seeds
(each holds var(e) / (S P) once), and V_cells = var(e) / (S P) follows from resampling prompts for
each seed apart. Seeds are few, so S - 1 of them are drawn, which makes V_seeds unbiased, and the
interval is value +- t sqrt(V) with Student's t at Satterthwaite's degrees of freedom: percentiles
of a bootstrap over 5 seeds would cover 95 % far too seldom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.errors import GDROError
from gdro.core.types import Floats

RESAMPLES = 1000
ROUNDING = 1e-12
"""Of scores, which are shares of a few samples: what is less is what the order of summing adds."""


class StatisticsError(GDROError, ValueError):
    """Scores that cannot be compared; says which and why."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval; low and high are NaN where there is none.

    Attributes:
        p: two-sided p-value of "it is 0" by the same Student's t; NaN where there is no interval.
    """

    value: float
    low: float
    high: float
    p: float = float("nan")

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0.0 or self.high < 0.0


@lru_cache(maxsize=4096)
def student_975(degrees: float) -> float:
    """Student's t at 97.5 %: where `student_p` is 5 %, so that an interval leaves 0 out exactly
    where p is below .05."""
    low, high = 1.9, 12.8  # of infinitely many degrees and of one
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if student_p(middle, degrees) > 0.05 else (low, middle)
    return high


def student_p(t: float, degrees: float) -> float:
    """P(|T| >= |t|) of Student's t.

    With T = sqrt(degrees) tan(a) the density becomes cos(a)^(degrees - 1) on (-pi/2, pi/2); both
    integrals by Gauss-Legendre. Beyond 10,000 degrees it is the normal's.
    """
    if not degrees >= 1.0:
        raise StatisticsError(f"Student's t needs at least 1 degree of freedom, got {degrees}")
    if degrees > 10_000:
        return math.erfc(abs(t) / math.sqrt(2.0))
    nodes, weights = _legendre()

    def mass_beyond(angle: float) -> float:
        # The mass lies within some 1 / sqrt(degrees) of 0: cut where the integrand has fallen below
        # 1e-30.
        end = min(math.pi / 2, angle + 12.0 / math.sqrt(degrees))
        at = angle + (end - angle) * (nodes + 1.0) / 2.0
        return float((weights * np.cos(at) ** (degrees - 1.0)).sum() * (end - angle) / 2.0)

    return min(mass_beyond(math.atan(abs(t) / math.sqrt(degrees))) / mass_beyond(0.0), 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down rule, in the order given; NaN stays
    NaN and counts."""
    order = sorted(
        range(len(p_values)), key=lambda place: (math.isnan(p_values[place]), p_values[place])
    )
    adjusted, worst = [float("nan")] * len(p_values), 0.0
    for rank, place in enumerate(order):
        if not math.isnan(p_values[place]):
            worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[place]))
            adjusted[place] = worst
    return adjusted


def seed_interval(values: ArrayLike) -> Estimate:
    """Mean over seeds with Student's interval; one seed has none, nor have seeds that all say the
    same, unless that is 0."""
    sample = np.asarray(values, np.float64)
    mean = float(sample.mean()) if sample.size else float("nan")
    if sample.size < 2 or not np.isfinite(sample).all():
        return _without_interval(mean)
    return _estimate(mean, float(sample.std(ddof=1)) / float(np.sqrt(sample.size)), sample.size - 1)


@dataclass(frozen=True)
class Resampled:
    """A method's score and what it is in each resample; the same resamples for every method of S
    seeds and P prompts.

    Attributes:
        value: the score.
        by_seeds, by_prompts, by_cells: (R,) seeds drawn anew, prompts drawn anew alike for all
            seeds, for each apart.
        seeds, prompts: S and P.
    """

    value: float
    by_seeds: Floats
    by_prompts: Floats
    by_cells: Floats
    seeds: int
    prompts: int


def resampled(scores: ArrayLike, groups: ArrayLike | None = None, *, seed: int = 0) -> Resampled:
    """Resample a method's scores.

    Args:
        scores: (S, P); row s is one seed's run, column p one prompt.
        groups: (G, P) weights >= 0 of the prompts in each group; None is one group of all.
        seed: of the resampling.

    Raises:
        StatisticsError: a score that is no number, or a group without prompts.
    """
    table = _checked(scores)
    seeds, prompts = table.shape
    weights = np.ones((1, prompts)) if groups is None else np.asarray(groups, np.float64)
    if (
        weights.shape[1:] != (prompts,)
        or (weights < 0).any()
        or not (weights.sum(axis=1) > 0).all()
    ):
        raise StatisticsError(
            f"groups must be (G, {prompts}) weights >= 0, each with a prompt; got {weights.shape}"
        )
    every_seed, every_prompt = np.ones((1, seeds)), np.ones((1, 1, prompts))
    value = float(lowest_group(table, weights, every_seed, every_prompt)[0])
    by_prompts = lowest_group(table, weights, every_seed, _draws(prompts, 1, seed))
    if seeds == 1:
        return Resampled(value, np.full(1, value), by_prompts, by_prompts, seeds, prompts)
    by_seeds = lowest_group(table, weights, _seed_draws(seeds, seed), every_prompt)
    by_cells = lowest_group(table, weights, every_seed, _draws(prompts, seeds, seed))
    return Resampled(value, by_seeds, by_prompts, by_cells, seeds, prompts)


def interval(method: Resampled, baseline: Resampled | None = None) -> Estimate:
    """The method's score, or its difference from the baseline's, with an interval over seeds and
    prompts (95 %).

    Raises:
        StatisticsError: the two have other numbers of seeds or prompts.
    """
    if baseline is not None and (method.seeds, method.prompts) != (
        baseline.seeds,
        baseline.prompts,
    ):
        shapes = f"{(method.seeds, method.prompts)} and {(baseline.seeds, baseline.prompts)}"
        raise StatisticsError(f"the scores are {shapes}; pair the same seeds and prompts")

    def variance(of: str) -> float:
        own: Floats = getattr(method, of)
        return float(np.var(own if baseline is None else own - getattr(baseline, of), ddof=1))

    value = method.value - (0.0 if baseline is None else baseline.value)
    seeds, prompts = method.seeds, method.prompts
    over_prompts = variance("by_prompts")
    if seeds == 1:
        return _estimate(value, float(np.sqrt(over_prompts)), max(prompts - 1, 1))
    return _estimate(
        value,
        *_error_and_degrees(
            variance("by_seeds"), over_prompts, variance("by_cells"), seeds, prompts
        ),
    )


def lowest_group(scores: Floats, weights: Floats, by_seed: Floats, by_prompt: Floats) -> Floats:
    """(R,) lowest group mean of each resample; a group that a resample leaves empty does not count.

    Args:
        scores: (S, P).
        weights: (G, P).
        by_seed: (R, S) how often each seed is drawn.
        by_prompt: (R or 1, S or 1, P) how often each prompt is drawn, for each seed.
    """
    drawn, often = by_prompt.transpose(1, 0, 2), by_seed.T[:, :, None]
    weighted = scores[:, :, None] * weights.T  # (S, P, G)
    if len(drawn) == 1:  # one product for all seeds: the draws are the large matrix, read them once
        (seeds, prompts), count = scores.shape, len(weights)
        columns = np.concatenate(
            [weights.T, weighted.transpose(1, 0, 2).reshape(prompts, seeds * count)], axis=1
        )
        product = drawn[0] @ columns
        sizes = product[None, :, :count]
        totals = product[:, count:].reshape(-1, seeds, count).transpose(1, 0, 2)  # (S, R or 1, G)
    else:
        product = drawn @ np.concatenate(
            [np.broadcast_to(weights.T, weighted.shape), weighted], axis=2
        )
        sizes, totals = product[..., : len(weights)], product[..., len(weights) :]  # (S, R, G)
    whole = (often * sizes).sum(axis=0)
    means = (often * totals).sum(axis=0) / np.where(whole > 0, whole, np.nan)
    return np.asarray(np.fmin.reduce(means, axis=1))


def hardest_share(base: ArrayLike, share: float = 0.2) -> Floats:
    """(P,) weights of the prompts with the lowest base rate; those tied at the border share what is
    left.

    Args:
        base: (P,) success rates before training.
        share: of the prompts, in (0, 1].
    """
    rates = np.asarray(base, np.float64)
    if not rates.size or not 0.0 < share <= 1.0:
        raise StatisticsError(
            f"the hardest share needs prompts and a share in (0, 1]; got {rates.size} and {share}"
        )
    wanted = share * rates.size
    border = np.sort(rates)[max(int(np.ceil(wanted - 1e-9)) - 1, 0)]
    below, tied = rates < border, rates == border
    return np.where(below, 1.0, np.where(tied, (wanted - below.sum()) / tied.sum(), 0.0))


def base_bins(base: ArrayLike, fewest: int = 8) -> tuple[list[int], Floats]:
    """Ten bins of equal width by base rate, hardest first: their numbers and (G, P) memberships.

    Bins of fewer than `fewest` prompts are left out, since the worst of many small bins is noise;
    when none is left, all prompts are one group with number -1.
    """
    rates = np.asarray(base, np.float64)
    number = np.minimum((rates * 10 + 1e-9).astype(np.int64), 9)
    kept = [b for b in range(10) if (number == b).sum() >= fewest]
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
    return np.asarray(
        np.tensordot(np.diff(at), (heights[1:] + heights[:-1]) / 2, axes=1) / (at[-1] - at[0])
    )


def first_reach(xs: Sequence[float], ys: Sequence[float], target: float) -> float:
    """Where the curve first reaches `target`, linear between points; infinity when it never
    does."""
    points = list(zip(xs, ys, strict=True))
    for (x0, y0), (x1, y1) in zip([points[0], *points], points, strict=False):
        if y1 >= target:
            return float(x1 if y1 == y0 else x0 + (x1 - x0) * max(target - y0, 0.0) / (y1 - y0))
    return float("inf")


def _checked(scores: ArrayLike) -> Floats:
    array = np.asarray(scores, np.float64)
    if array.ndim != 2 or not array.size or not np.isfinite(array).all():
        raise StatisticsError(
            f"scores must be a (seeds, prompts) table of finite numbers; got shape {array.shape}"
        )
    return array


def _error_and_degrees(
    over_seeds: float, over_prompts: float, apart: float, seeds: int, prompts: int
) -> tuple[float, float]:
    """Standard error by the formula above and Satterthwaite's degrees of freedom, at least 1:
    V^2 / (V_seeds^2 / (S - 1) + V_prompts^2 / (P - 1))."""
    cells = max(seeds * apart - over_prompts, 0.0) / (seeds - 1)
    variance = max(over_seeds + over_prompts - cells, over_seeds, over_prompts)
    if variance == 0.0:
        return 0.0, 1.0
    weighed = over_seeds**2 / (seeds - 1) + over_prompts**2 / max(prompts - 1, 1)
    return float(np.sqrt(variance)), max(variance**2 / weighed, 1.0)


def _estimate(value: float, error: float, degrees: float) -> Estimate:
    if error < ROUNDING:  # nothing varies: known only where the methods did the same throughout
        same = abs(value) < ROUNDING
        return Estimate(value, value, value, 1.0) if same else _without_interval(value)
    half = student_975(degrees) * error
    return Estimate(value, value - half, value + half, student_p(value / error, degrees))


def _without_interval(value: float) -> Estimate:
    return Estimate(value, float("nan"), float("nan"))


@lru_cache(maxsize=1)
def _legendre() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return np.asarray(nodes), np.asarray(weights)


@lru_cache(maxsize=8)
def _draws(prompts: int, tables: int, seed: int) -> Floats:
    """(R, tables, P) how often each prompt comes up in P draws; laid out table by table, as
    products read it."""
    rng = np.random.default_rng((seed, 1, tables))
    rows = RESAMPLES * tables
    chosen = rng.integers(0, prompts, (rows, prompts)) + prompts * np.arange(rows)[:, None]
    often = np.bincount(chosen.ravel(), minlength=rows * prompts).reshape(
        RESAMPLES, tables, prompts
    )
    return np.ascontiguousarray(often.transpose(1, 0, 2), dtype=np.float64).transpose(1, 0, 2)


@lru_cache(maxsize=8)
def _seed_draws(seeds: int, seed: int) -> Floats:
    """(R, S) how often each seed comes up in S - 1 draws."""
    rng = np.random.default_rng((seed, 0))
    return rng.multinomial(seeds - 1, np.full(seeds, 1.0 / seeds), RESAMPLES).astype(np.float64)
