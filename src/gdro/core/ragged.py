"""Ragged rewards: one flat array and the number of rewards of each prompt, validated once at the
door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gdro.core.errors import RewardError
from gdro.core.types import Bools, Floats, Ints, Rewards

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
        """(M,) sum of squared deviations from the group's mean; exactly 0 where all values are
        equal."""
        centred = self.values - self.spread(self.mean())
        squares = np.add.reduceat(centred * centred, self.starts)
        return np.where(self.constant(), 0.0, squares)

    def pair_products(self) -> Floats:
        """(M,) mean product of two different values of a group; 0 for a group of one. Of rewards
        of one prompt it is an unbiased estimate of p^2."""
        ordered = self.sum() ** 2 - self.map(self.values**2).sum()
        return np.asarray(ordered / np.maximum(self.counts * (self.counts - 1.0), 1.0))

    def constant(self) -> Bools:
        """(M,) all values of the group are the same."""
        starts = self.starts
        return np.equal(
            np.maximum.reduceat(self.values, starts), np.minimum.reduceat(self.values, starts)
        )

    def take(self, order: Ints) -> Ragged:
        """The groups in another order (M,)."""
        counts = self.counts[order]
        ends = np.cumsum(counts)
        shift = np.repeat(self.starts[order] - (ends - counts), counts)
        return Ragged(self.values[np.arange(len(shift)) + shift], counts)

    def sorted(self) -> Ragged:
        """The same groups, each in rising order, so that sums round alike in whatever order the
        values came."""
        # complex numbers sort by their real part, then the other
        keyed = np.empty(len(self.values), np.complex128)
        keyed.real, keyed.imag = np.repeat(np.arange(len(self.counts)), self.counts), self.values
        keyed.sort()
        return Ragged(keyed.imag, self.counts)

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
        RewardError: names the prompt whose rewards are missing, not numbers (None and bool
            included), NaN or infinite, and says what to do.
    """
    try:
        given = len(rewards)
    except TypeError:
        raise RewardError(
            f"rewards must be one sequence of numbers for each prompt, not {_describe(rewards)}"
        ) from None
    if given != len(prompt_ids):
        raise RewardError(
            f"got rewards of {given} prompts for {len(prompt_ids)} prompt ids; give one sequence"
            " for each id"
        )
    groups = [
        group if _is_flat(group) else flat_numbers(f"prompt {i!r}", group)
        for i, group in zip(prompt_ids, rewards, strict=True)
    ]
    counts = np.fromiter((len(group) for group in groups), np.int64, len(groups))
    values = np.concatenate(groups).astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        prompt = int(np.searchsorted(np.cumsum(counts), row, side="right"))
        raise RewardError(
            f"prompt {prompt_ids[prompt]!r} has the reward {values[row]}; score it as a finite"
            " number, or drop the prompt and cancel the plan"
        )
    return Ragged(np.clip(values, -LARGEST, LARGEST), counts)


def flat_numbers(name: str, values: ArrayLike) -> NDArray[np.number[Any]]:
    """The flat array behind `values`; raises RewardError naming whose they are."""
    if isinstance(values, (list, tuple)) and not {bool, np.bool_}.isdisjoint(map(type, values)):
        raise RewardError(f"{name} has a bool among its numbers; convert it with float(...)")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise RewardError(f"{name} does not have a flat list of numbers: {error}") from None
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise RewardError(
            f"{name} must have a flat list of numbers, not {_describe(values)} (None and bool are"
            " none)"
        )
    if array.size == 0:
        raise RewardError(f"{name} has no number; every planned rollout needs a reward")
    return array


def _is_flat(values: ArrayLike) -> TypeGuard[NDArray[np.number[Any]]]:
    """Whether this is, beyond doubt, what `flat_numbers` would return: it saves most of its
    time."""
    return (
        type(values) is np.ndarray
        and values.ndim == 1
        and values.dtype == np.float64
        and values.size > 0
    )


def _describe(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
