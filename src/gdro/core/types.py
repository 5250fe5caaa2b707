"""What passes between a controller and an engine: a plan on the way out, feedback on the way back.

Shapes: M prompts in a batch, B difficulty bins, n_i rollouts of prompt i. Dimension suffixes follow
the names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

UNSEEN = -1
"""The bin of a prompt with no visit yet: a state of its own, not a hard bin (weight 1, mean
budget)."""

Metric = int | float | str | list[float]
"""A scalar, or a list with one value for each bin (hardest first; NaN where a bin has none)."""

Metrics = Mapping[str, Metric]

Rewards = Sequence[ArrayLike]
"""Ragged rewards: for each of the M prompts, its n_i rewards."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many rollouts each prompt of a batch gets.

    Attributes:
        prompt_ids: (M,) the batch, in the order in which it was given.
        rollouts: (M,) int64, n_i >= 1; the sum is exactly M * mean_rollouts.
        bins: (M,) int64, the difficulty bin in which each prompt stands for this step, 0 the
            hardest; UNSEEN (-1) before its first visit.
    """

    prompt_ids: tuple[str, ...]
    rollouts: Ints
    bins: Ints

    @property
    def total(self) -> int:
        """Rollouts of the whole batch."""
        return int(self.rollouts.sum())


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a controller answers to the rewards of a plan.

    Attributes:
        prompt_ids: (M,) in the order given to `observe`.
        weights: (M,) float64, finite and positive: the factor of each prompt's advantages (eq. 16).
        bins: (M,) int64, the bins of the plan that these rewards answer.
        baselines, deviations: (M,) float64, both or neither (most methods): what stands for the
            group's own mean and standard deviation in its advantages (`own_advantages`). In units
            of the rewards; deviations are positive.
    """

    prompt_ids: tuple[str, ...]
    weights: Floats
    bins: Ints
    baselines: Floats | None = None
    deviations: Floats | None = None

    def own_advantages(
        self, rewards: ArrayLike, places: Ints, clip: float | None = None
    ) -> Floats | None:
        """(R,) unweighted advantages of rollouts, (r - baseline) / deviation; None without
        baselines.

        Args:
            rewards: (R,) rewards of rollouts, in any order.
            places: (R,) for each of them the place of its prompt in `prompt_ids`.
            clip: bound on the absolute advantage, above 0, or None.
        """
        if self.baselines is None or self.deviations is None:
            return None
        own = np.asarray((np.asarray(rewards) - self.baselines[places]) / self.deviations[places])
        return own if clip is None else np.clip(own, -clip, clip)
