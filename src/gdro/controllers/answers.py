"""What the hooks of a controller answer, checked where it is used: a wrong answer is an error, not a ruined model.

A hook is code of somebody's own (docs/own_controller.md). A weight of NaN would train every parameter to NaN, a
negative one would turn the gradients round, and a plan of other sums would spend another budget.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.core.errors import HookError
from gdro.core.types import Bools, Floats, Ints


def check_rank(who: str, ids: Sequence[str], rank: Floats) -> Floats:
    """(N,) ranks, none of them NaN.

    Raises:
        HookError: of another shape, or NaN; names the class and the first prompt at fault.
    """
    values = _shaped(f"{who}._rank", rank, (len(ids),), "one rank for each candidate")
    _all(f"{who}._rank", ids, values, ~np.isnan(values), "ranks are numbers, the lowest first")
    return values


def check_allocation(
    who: str, ids: Sequence[str], rollouts: Ints, demand: Floats, bins: int, low: int, mean: int, high: int
) -> tuple[Ints, Floats]:
    """(M,) rollouts within their bounds and of the exact total, and the (B,) finite demand.

    Raises:
        HookError: anything else; names the class and the first prompt at fault.
    """
    where = f"{who}._allocate"
    counts = _shaped(where, rollouts, (len(ids),), "rollouts for each prompt")
    if not np.issubdtype(counts.dtype, np.integer):
        raise HookError(f"{where} answered rollouts of type {counts.dtype}; they are whole numbers (gdro.exact_budget)")
    bounds = (counts >= low) & (counts <= high)
    _all(where, ids, counts, bounds, f"rollouts lie from min_rollouts={low} to max_rollouts={high}")
    if (total := int(counts.sum())) != len(ids) * mean:
        raise HookError(
            f"{where} answered {total} rollouts for {len(ids)} prompts; the budget is exactly {len(ids)} x "
            f"mean_rollouts={mean} = {len(ids) * mean} (gdro.exact_budget makes them so)"
        )
    wanted = _shaped(where, demand, (bins,), "a demand for each bin")
    if not np.isfinite(wanted).all():
        raise HookError(f"{where} answered the demand {wanted[~np.isfinite(wanted)][0]} of a bin; demands are finite")
    return counts, wanted


def check_weights(who: str, ids: Sequence[str], weights: Floats) -> Floats:
    """(M,) finite positive weights.

    Raises:
        HookError: anything else; names the class and the first prompt at fault.
    """
    values = _shaped(f"{who}._weigh", weights, (len(ids),), "one weight for each prompt")
    right = np.isfinite(values) & (values > 0.0)
    _all(f"{who}._weigh", ids, values, right, "weights are finite and positive")
    return values


def check_terms(who: str, ids: Sequence[str], terms: tuple[Floats, Floats] | None) -> tuple[Floats, Floats] | None:
    """(M,) finite baselines and (M,) finite positive deviations, or None.

    Raises:
        HookError: anything else; names the class and the first prompt at fault.
    """
    if terms is None:
        return None
    where = f"{who}._advantage_terms"
    if not isinstance(terms, tuple) or len(terms) != 2:
        raise HookError(f"{where} answered a {type(terms).__name__}; it is a pair, baselines and deviations, or None")
    baselines, deviations = (_shaped(where, term, (len(ids),), "a baseline and a deviation a prompt") for term in terms)
    _all(where, ids, baselines, np.isfinite(baselines), "baselines are finite")
    _all(where, ids, deviations, np.isfinite(deviations) & (deviations > 0.0), "deviations are finite and positive")
    return baselines, deviations


def _shaped(where: str, answer: Floats | Ints, shape: tuple[int, ...], what: str) -> np.ndarray:
    values = np.asarray(answer)
    if values.shape != shape or values.dtype.kind not in "iuf":
        raise HookError(f"{where} answered {values.dtype} of shape {values.shape}; it is {what}, of shape {shape}")
    return values


def _all(where: str, ids: Sequence[str], values: np.ndarray, right: Bools, rule: str) -> None:
    if not right.all():
        place = int(np.argmin(right))
        raise HookError(f"{where} answered {values[place]} for prompt {ids[place]!r}; {rule}")
