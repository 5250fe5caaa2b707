"""Bounds of a prompt's rollouts where an engine's own setting says their mean."""

from __future__ import annotations

from gdro.controllers.base import Controller


def rollout_options(mean: int) -> dict[str, int]:
    """`mean_rollouts`, and a `max_rollouts` of three times that, at least a controller's own: there is room."""
    return {"mean_rollouts": mean, "max_rollouts": max(Controller.max_rollouts, 3 * mean)}
