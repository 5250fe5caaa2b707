"""Which rollouts share a forward pass, so that little of it is padding. Numpy alone.

Nothing here touches the loss: log-probabilities come back in the order of the rollouts, so the
normalisers and the groups of every objective stay what they were.

- `like_length`: a fixed number of batches, each as wide as its longest row, with the least padding
  there is (for padded batches, what most engines feed);
- `windows`: rows of a token capacity filled by first-fit-decreasing inside windows of 64 sequences,
  after the dense packing of DPPO (arXiv 2603.04135) [P]; for engines whose attention keeps packed
  sequences apart;
- `first_come`: rows of a token capacity filled in the order of arrival; for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.core.errors import OptionError
from gdro.core.types import Ints

Bins = list[list[int]]
"""Places of the sequences that share a batch or a row; every place once."""


def like_length(lengths: Sequence[int] | Ints, batches: int) -> Bins:
    """Exactly `batches` batches, none empty, with the least sum of rows times longest row.

    Sorted by length the best batches are stretches, found by dynamic programming over where they
    end, in O(batches * N^2).

    Raises:
        OptionError: a length below 0, or a number of batches outside 1..N.
    """
    size = _checked(lengths)
    if not 1 <= batches <= len(size):
        raise OptionError(f"batches={batches}: it must lie in 1..{len(size)}, the sequences")
    order = np.lexsort((np.arange(len(size)), size))
    widths = size[order]
    ends = np.arange(1, len(size) + 1)
    cost = widths * ends  # of the first k rows in one batch
    choices = []
    for _ in range(batches - 1):
        # One more batch: rows start..end-1, after the best split of the first `start` rows.
        before = np.concatenate([[np.inf], cost[:-1].astype(np.float64)])
        starts = np.arange(len(size))
        table = before[None, :] + widths[:, None] * (ends[:, None] - starts[None, :])
        table = np.where(starts[None, :] < ends[:, None], table, np.inf)
        choice = table.argmin(1)
        cost = table[np.arange(len(size)), choice]
        choices.append(choice)
    bins, end = [], len(size)
    for choice in reversed(choices):
        start = int(choice[end - 1])
        bins.append(order[start:end].tolist())
        end = start
    bins.append(order[:end].tolist())
    return bins[::-1]


def windows(lengths: Sequence[int] | Ints, capacity: int, window: int = 64) -> Bins:
    """Rows of at most `capacity` tokens, by first-fit-decreasing inside each window of sequences.

    Args:
        window: sequences that are packed together; what is far apart stays apart.

    Raises:
        OptionError: a sequence longer than the capacity (its place is named), or a window below 1.
    """
    if window < 1:
        raise OptionError(f"window={window}: it must be at least 1")
    size = _checked(lengths, capacity)
    bins: Bins = []
    for first in range(0, len(size), window):
        own = size[first : first + window]
        room: list[int] = []
        opened: Bins = []
        for place in np.lexsort((np.arange(len(own)), -own)):
            length = int(own[place])
            row = next((row for row, free in enumerate(room) if free >= length), len(room))
            if row == len(room):
                room.append(capacity)
                opened.append([])
            room[row] -= length
            opened[row].append(first + int(place))
        bins += opened
    return bins


def first_come(lengths: Sequence[int] | Ints, capacity: int) -> Bins:
    """Rows of at most `capacity` tokens; a row is closed when the next sequence does not fit.

    Raises:
        OptionError: a sequence longer than the capacity; its place is named.
    """
    bins: Bins = []
    free = -1
    for place, length in enumerate(_checked(lengths, capacity).tolist()):
        if length > free:
            bins.append([])
            free = capacity
        bins[-1].append(place)
        free -= length
    return bins


def fill_ratio(lengths: Sequence[int] | Ints, bins: Bins, capacity: int | None = None) -> float:
    """Share of what is computed that is no padding, in (0, 1]; 1 for nothing at all.

    Args:
        capacity: tokens of a packed row; None for padded batches, as wide as their longest row.
    """
    size = _checked(lengths)
    if capacity is not None:
        computed = capacity * len(bins)
    else:
        computed = sum(len(places) * int(size[places].max()) for places in bins)
    return float(size.sum() / computed) if computed else 1.0


def _checked(lengths: Sequence[int] | Ints, capacity: int | None = None) -> Ints:
    size = np.asarray(lengths, dtype=np.int64)
    if size.ndim != 1 or bool((size < 0).any()):
        raise OptionError("lengths must be a list of whole numbers >= 0, the tokens of each row")
    if capacity is not None and size.size and int(size.max()) > capacity:
        place = int(size.argmax())
        raise OptionError(
            f"sequence {place} has {size[place]} tokens, the capacity is {capacity}; raise it"
        )
    return size
