"""Ragged rewards: one flat array and the number of rewards of each prompt, validated once at the door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.errors import RewardError
from gdro.core.types import Floats, Ints, Rewards

LARGEST = 1e150
"""Rewards and losses beyond +-1e150 count as +-1e150, so that their squares stay finite."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """R values in M consecutive groups.

    Attributes:
        values: (R,) float64.
        counts: (M,) int64, each at least 1; they sum to R.
    """

    values: Floats
    counts: Ints

    @property
    def starts(self) -> Ints:
        """(M,) the index of each group's first value."""
        return np.cumsum(self.counts) - self.counts

    def sum(self) -> Floats:
        """(M,) sum of each group."""
        return np.add.reduceat(self.values, self.starts)

    def mean(self) -> Floats:
        """(M,) mean of each group."""
        return self.sum() / self.counts

    def spread(self, each: ArrayLike) -> Floats:
        """(R,) a value of each group, repeated for each of its members."""
        return np.repeat(np.asarray(each, dtype=np.float64), self.counts)

    def sum_of_squares(self) -> Floats:
        """(M,) sum of squared deviations from the group's mean; exactly 0 where all values are equal."""
        centred = self.values - self.spread(self.mean())
        squares = np.add.reduceat(centred * centred, self.starts)
        return np.where(self.constant(), 0.0, squares)

    def constant(self) -> np.ndarray:
        """(M,) bool: all values of the group are the same."""
        starts = self.starts
        return np.maximum.reduceat(self.values, starts) == np.minimum.reduceat(self.values, starts)

    def map(self, values: Floats) -> Ragged:
        """The same groups with other values (R,)."""
        return Ragged(values, self.counts)

    def split(self) -> list[Floats]:
        """One array for each group."""
        return np.split(self.values, self.starts[1:])


def from_rewards(prompt_ids: Sequence[str], rewards: Rewards) -> Ragged:
    """Validate ragged rewards and lay them flat.

    Args:
        prompt_ids: (M,) names for the error messages.
        rewards: M sequences of numbers (lists, arrays, CPU tensors).

    Raises:
        RewardError: names the prompt whose rewards are missing, not numbers (None and bool included), NaN or
            infinite, and says what to do.
    """
    if len(rewards) != len(prompt_ids):
        raise RewardError(
            f"got rewards of {len(rewards)} prompts for {len(prompt_ids)} prompt ids; give one sequence of rewards for each id"
        )
    groups = [_group(prompt_id, group) for prompt_id, group in zip(prompt_ids, rewards, strict=True)]
    counts = np.fromiter((len(group) for group in groups), np.int64, len(groups))
    values = np.concatenate(groups).astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        prompt = int(np.searchsorted(np.cumsum(counts), row, side="right"))
        raise RewardError(
            f"prompt {prompt_ids[prompt]!r} has the reward {values[row]}; score it as a number or drop the prompt and cancel the plan"
        )
    return Ragged(np.clip(values, -LARGEST, LARGEST), counts)


def _group(prompt_id: str, rewards: ArrayLike) -> np.ndarray:
    if isinstance(rewards, (list, tuple)) and not {bool, np.bool_}.isdisjoint(map(type, rewards)):
        raise RewardError(f"prompt {prompt_id!r} has a bool among its rewards; convert it with float(...)")
    try:
        group = np.asarray(rewards)
    except (ValueError, TypeError) as error:
        raise RewardError(f"the rewards of prompt {prompt_id!r} are not a flat list of numbers: {error}") from None
    if group.ndim != 1 or group.dtype.kind not in "iuf":
        raise RewardError(
            f"the rewards of prompt {prompt_id!r} must be a flat list of numbers, not {_describe(rewards)} (None and bool are not rewards)"
        )
    if group.size == 0:
        raise RewardError(f"prompt {prompt_id!r} has no reward; every planned rollout needs one")
    return group


def _describe(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
