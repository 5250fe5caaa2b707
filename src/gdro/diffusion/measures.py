"""What an evaluation measures beside the reward: how far the images have moved, and how alike they
have become."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gdro.diffusion.families import Images

Floats = NDArray[np.float64]
SIDE = 16
"""Images are compared as means over a grid of at most this many cells a side."""


def features(images: Images) -> Floats:
    """(n, d) cell means of images, in [0, 1]: what the distances below are taken on."""
    pixels = images.astype(np.float64) / 255.0
    height, width = pixels.shape[1:3]
    down, across = max(1, height // SIDE), max(1, width // SIDE)
    cut = pixels[:, : height // down * down, : width // across * across]
    cells = cut.reshape(len(cut), height // down, down, width // across, across, -1).mean((2, 4))
    found: Floats = cells.reshape(len(cut), -1)
    return found


def kernel_distance(first: Floats, second: Floats) -> float:
    """Squared maximum mean discrepancy of two sets of (n, d) features, unbiased (so it may be below
    0).

    The kernel is Gaussian; its width is the median distance inside `second`, the set compared with
    (arXiv 1801.01401 has the estimator with another kernel and a network's features; ours are cell
    means, so compare values of one data set alone).
    """
    if len(first) < 2 or len(second) < 2:
        return float("nan")
    inside = _squared_distances(second, second)
    width = float(np.median(inside[~np.eye(len(second), dtype=bool)])) or 1.0
    k_first = np.exp(-_squared_distances(first, first) / width)
    k_second = np.exp(-inside / width)
    across = np.exp(-_squared_distances(first, second) / width).mean()
    return float(_off_diagonal_mean(k_first) + _off_diagonal_mean(k_second) - 2.0 * across)


def diversity(values: Floats) -> float:
    """Mean distance between two of (n, d) features, as a root mean square over the cells."""
    if len(values) < 2:
        return float("nan")
    return _off_diagonal_mean(np.sqrt(_squared_distances(values, values) / values.shape[1]))


def _squared_distances(first: Floats, second: Floats) -> Floats:
    products = first @ second.T
    found: Floats = np.maximum(
        (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2.0 * products, 0.0
    )
    return found


def _off_diagonal_mean(values: Floats) -> float:
    count = len(values)
    return float((values.sum() - np.trace(values)) / (count * (count - 1)))
