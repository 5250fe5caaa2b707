"""Bounds of a prompt's rollouts where an engine's own setting says their mean."""

from __future__ import annotations

MOST = 12
"""`max_rollouts` of a controller by itself: the paper's, three times its mean of 4."""


def rollout_options(mean: int) -> dict[str, int]:
    """`mean_rollouts`, and a `max_rollouts` of three times that, at least 12: room to move at any mean."""
    return {"mean_rollouts": mean, "max_rollouts": max(MOST, 3 * mean)}
