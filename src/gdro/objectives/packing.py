"""Which rollouts share a forward pass, so that little of it is padding. Numpy alone.

Nothing here touches the loss: log-probabilities come back in the order of the rollouts, so the
normalisers and the groups of every objective stay what they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gdro.core.errors import OptionError
from gdro.core.types import Ints

Bins = list[list[int]]
"""Places of the sequences that share a padded batch; every place once."""


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


def fill_ratio(lengths: Sequence[int] | Ints, bins: Bins) -> float:
    """Share of what is computed that is no padding, in (0, 1]; 1 for nothing at all."""
    size = _checked(lengths)
    computed = sum(len(places) * int(size[places].max()) for places in bins)
    return float(size.sum() / computed) if computed else 1.0


def _checked(lengths: Sequence[int] | Ints) -> Ints:
    size = np.asarray(lengths, dtype=np.int64)
    if size.ndim != 1 or bool((size < 0).any()):
        raise OptionError("lengths must be a list of whole numbers >= 0, the tokens of each row")
    return size
