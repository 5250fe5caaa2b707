"""Exact rollout budgets: any demand becomes whole numbers within bounds that add up to the
total.

`greedy_allocation` grants the largest marginal gains; it is optimal when every prompt's value is
concave.

Proof. Let V = sum_i v_i(n_i), low <= n_i <= high, sum n_i = N, each v_i concave: its gains g_i(n) =
v_i(n+1) - v_i(n) do not rise with n. Every plan picks, for each i, the first n_i - low of the gains
g_i(low), g_i(low+1), ..., and V is a constant plus the sum of all N - M low gains that it picks. No
set of that many gains sums to more than the largest ones, and since each prompt's gains do not
rise, the largest ones (ties taken in order of n) are the first ones of every prompt: they are a
plan, and no plan is better. (Gross, 1956; Fox, 1966.)

Only the least gain granted must be known, so a partition replaces the sort; ties are sorted alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.errors import BudgetError
from gdro.core.hashing import Keys
from gdro.core.types import Floats, Ints

FAINT = 1e-250
HUGE = 1e200


def exact_budget(
    demand: ArrayLike, total: int, low: int, high: int, keys: Keys | None = None
) -> Ints:
    """Whole rollouts n_i in low..high with sum exactly `total`, as near as can be to the demand.

    First the continuous plan x_i = clip(c * demand_i, low, high), with c chosen so that it sums to
    the total: the form of the square-root law under bounds (its KKT conditions). Then
    largest-remainder rounding, which minimises sum (n_i - x_i)^2 over all such n. Equal demands end
    up at most one rollout apart.

    Args:
        demand: (M,) finite and >= 0, in any unit; all zero means all equal.
        total: rollouts of the batch.
        low, high: bounds of every n_i.
        keys: (M,) uint64 that break ties between equal remainders; with them the plan does not
            depend on the order of the batch. Without them the earlier prompt goes first.

    Returns:
        (M,) int64.

    Raises:
        BudgetError: the demand is not finite, or no plan can meet the total within the bounds.
    """
    wanted = _check(demand, total, low, high)
    plan = project(wanted, total, low, high)
    rollouts = np.floor(plan).astype(np.int64)
    remainder = plan - rollouts
    if keys is not None and len(keys) != len(plan):
        raise BudgetError(f"{len(keys)} keys for {len(plan)} prompts; give one key a prompt")
    ties = np.arange(len(plan)) if keys is None else keys
    by_remainder = np.lexsort((ties, -remainder))
    raised = by_remainder[rollouts[by_remainder] < high][: int(total) - int(rollouts.sum())]
    rollouts[raised] += 1
    return rollouts


def project(demand: Floats, total: float, low: float, high: float) -> Floats:
    """(M,) x_i = clip(c * demand_i, low, high) with sum `total`.

    The sum is piecewise linear and rises with c: a binary search over its breakpoints finds the
    piece, one division the place in it. A demand below 1e-250 of the largest counts as 1e-250 of
    it, so prompts without demand stay at `low` until all others are at `high`.
    """
    scaled = (
        np.maximum(demand / demand.max(), FAINT) if demand.max() > 0.0 else np.ones(len(demand))
    )
    distinct, inverse = np.unique(scaled, return_inverse=True)
    size = np.bincount(inverse)

    def filled(factor: float) -> Floats:
        return np.minimum(np.maximum(factor * distinct, low), high)

    breaks = np.sort(np.concatenate([low / distinct, high / distinct]))
    left, right = 0, len(breaks) - 1
    while right - left > 1:
        middle = (left + right) // 2
        left, right = (middle, right) if size @ filled(breaks[middle]) <= total else (left, middle)
    start, end = filled(breaks[left]), filled(breaks[right])
    rise = float(size @ (end - start))
    part = (total - float(size @ start)) / rise if rise > 0.0 else 0.0
    return np.asarray((start + part * (end - start))[inverse])


def sqrt_law(share: ArrayLike, variance: ArrayLike, mean_rollouts: float) -> Floats:
    """The square-root law (eqs. 28-31): the n_b that minimise sum_b share_b v_b / n_b under sum_b
    share_b n_b = nbar.

    Args:
        share: (B,) fractions of the prompts; only their proportions count.
        variance: (B,) variance of one rollout in each bin, >= 0.
        mean_rollouts: nbar, the mean rollouts of a prompt.

    Returns:
        (B,) n_b = nbar sqrt(v_b) / sum_j share_j sqrt(v_j); nbar everywhere when no bin with a
        share varies.

    Raises:
        BudgetError: shares and variances are not equally many finite numbers >= 0, or nbar is not
            positive.
    """
    weights, spread = _numbers("share", share), _numbers("variance", variance)
    if len(weights) != len(spread) or not (mean_rollouts > 0.0 and np.isfinite(mean_rollouts)):
        raise BudgetError(
            f"{len(weights)} shares for {len(spread)} variances and a mean of {mean_rollouts}"
            " rollouts"
        )
    live = spread[weights > 0.0]
    if not live.any():
        return np.full(len(spread), float(mean_rollouts))
    with np.errstate(over="ignore"):
        deviation = np.sqrt(np.minimum(spread / live.max(), HUGE))
    return np.asarray(mean_rollouts * deviation * (weights.sum() / float(weights @ deviation)))


def _check(demand: ArrayLike, total: int, low: int, high: int) -> Floats:
    wanted = _numbers("demand", demand)
    for name, value in (("total", total), ("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise BudgetError(f"{name}={value!r} must be a whole number")
    if not 0 <= low <= high:
        raise BudgetError(f"bounds low={low}, high={high} must satisfy 0 <= low <= high")
    if not low * wanted.size <= total <= high * wanted.size:
        raise BudgetError(
            f"{total} rollouts for {wanted.size} prompts cannot be met with {low} to {high} each "
            f"({low * wanted.size} to {high * wanted.size}); change the mean or the bounds"
        )
    return wanted


def _numbers(name: str, values: ArrayLike) -> Floats:
    """(M,) finite numbers >= 0, or a BudgetError naming the first that is not."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise BudgetError(f"{name} must be a flat list of numbers: {error}") from None
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iuf":
        raise BudgetError(
            f"{name} must be a non-empty flat list of numbers, not {array.dtype} of shape"
            f" {array.shape}"
        )
    usable = np.isfinite(array) & (array >= 0.0)
    if not usable.all():
        place = int(np.argmin(usable))
        raise BudgetError(
            f"{name} number {place} is {array[place]}; it must be finite and not negative"
        )
    return array.astype(np.float64)


def greedy_allocation(gains: Floats, spare: int, keys: Keys) -> Ints:
    """How many of its gains each prompt is granted: the `spare` largest gains of all.

    Args:
        gains: (M, A) marginal gain of each prompt's next rollouts, not rising along a row up to
            rounding error.
        spare: gains to grant, at most M * A.
        keys: (M,) break ties between prompts, so that the plan does not depend on the order of the
            batch.

    Returns:
        (M,) with sum `spare`.
    """
    count, arms = gains.shape
    if spare == 0:
        return np.zeros(count, np.int64)
    falling = np.minimum.accumulate(gains, axis=1)
    flat = falling.ravel()
    least = np.partition(flat, flat.size - spare)[flat.size - spare]
    granted = (falling > least).sum(axis=1)
    prompt, arm = np.divmod(np.flatnonzero(flat == least), arms)
    first = np.lexsort((keys[prompt], arm))[: spare - int(granted.sum())]
    return np.asarray(granted + np.bincount(prompt[first], minlength=count))
