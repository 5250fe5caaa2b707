"""Exact totals by greedy choice of the largest marginal gain; optimal when every prompt's value is
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

from gdro.core.hashing import Keys
from gdro.core.types import Floats, Ints


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
