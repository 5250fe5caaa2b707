"""Straight lines through measured costs: y = c_0 + sum_k c_k x_k with no coefficient below 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def fit(columns: ArrayLike, values: ArrayLike) -> tuple[list[float], float]:
    """The coefficients with the least sum of squared relative residuals, and the largest of those residuals.

    A cost that grows with its size spans decades, so the residuals are relative: each row is divided by its value.
    Of all supports the best one without a negative coefficient is taken (Lawson and Hanson's problem, by enumeration).

    Args:
        columns: (N, K) sizes; a constant is added in front.
        values: (N,) measured costs, above 0.

    Returns:
        K + 1 coefficients, the constant first; and max |fitted / measured - 1|.

    Raises:
        ValueError: fewer rows than coefficients, or a cost that is not above 0.
    """
    x, y = np.asarray(columns, np.float64), np.asarray(values, np.float64)
    design = np.column_stack([np.ones(len(y)), x])
    if len(design) < design.shape[1] or not (y > 0.0).all():
        raise ValueError(f"{len(design)} costs, least {y.min()}: need {design.shape[1]} or more, all above 0")
    size = design.max(axis=0)
    scaled, best, least = design / size / y[:, None], np.zeros(design.shape[1]), np.inf
    for support in range(1, 2 ** design.shape[1]):
        chosen = [k for k in range(design.shape[1]) if support >> k & 1]
        solved = np.linalg.lstsq(scaled[:, chosen], np.ones(len(y)), rcond=None)[0]
        loss = float(((scaled[:, chosen] @ solved - 1.0) ** 2).sum())
        if (solved >= 0.0).all() and loss < least:
            least, best = loss, np.zeros(design.shape[1])
            best[chosen] = solved
    residual = float(np.abs(scaled @ best - 1.0).max())
    return (best / size).tolist(), residual


def value(coefficients: list[float], *sizes: float) -> float:
    """c_0 + sum_k c_k x_k."""
    return coefficients[0] + sum(c * x for c, x in zip(coefficients[1:], sizes, strict=True))
