"""The linear programme behind CVaR, GC-DRO and Var-DRO, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.types import Floats
from gdro.robust.batch import RobustError

SLACK = 1e-9
"""Relative: how far rounding may push a bound past the mean before it counts as infeasible."""


def waterfill(losses: Floats, low: ArrayLike, high: ArrayLike, sizes: Floats) -> Floats:
    """argmax_w sum_i s_i w_i l_i  subject to  sum_i s_i w_i = sum_i s_i  and  low_i <= w_i <=
    high_i.

    Greedy: everything starts at its floor and the rest of the mass goes to the largest losses
    first, each up to its ceiling. Equal losses are filled to the same fraction of their room, so
    the answer does not depend on the order.

    Args:
        losses: (N,) finite.
        low, high: (N,) or numbers, 0 <= low <= 1 <= high.
        sizes: (N,) not negative.

    Returns:
        (N,) weights whose mean, weighted by the sizes, is one.

    Raises:
        RobustError: no weights meet the bounds.
    """
    floor = np.broadcast_to(np.asarray(low, np.float64), losses.shape)
    room = np.broadcast_to(np.asarray(high, np.float64), losses.shape) - floor
    total = float(sizes.sum())
    budget = total - float(sizes @ floor)
    if (
        budget < -SLACK * total
        or budget > float(sizes @ room) + SLACK * total
        or (room < 0.0).any()
    ):
        raise RobustError(
            "no weights with mean one lie within the bounds; the floor must be <= 1 <= the ceiling"
        )
    levels, place = np.unique(-losses, return_inverse=True)
    capacity = np.bincount(place, weights=sizes * room, minlength=len(levels))
    before = np.concatenate([[0.0], np.cumsum(capacity)[:-1]])
    share = np.clip((budget - before) / np.where(capacity > 0.0, capacity, 1.0), 0.0, 1.0)
    return np.asarray(floor + share[place] * room)
