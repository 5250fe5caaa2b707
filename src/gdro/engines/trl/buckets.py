"""Run a forward pass over rows of like prompt length together: the same numbers without the padding between."""

from __future__ import annotations

import torch


def length_buckets(attention_mask_RT: torch.Tensor, count: int) -> list[tuple[torch.Tensor, int]]:
    """Split rows that are padded on the left into at most `count` buckets of like length.

    Returns:
        For each bucket the indices of its rows and the first column that is not padding in all of them.
    """
    starts = attention_mask_RT.int().argmax(dim=1)
    order = starts.argsort(descending=True, stable=True)
    return [(rows, int(starts[rows].min())) for rows in order.tensor_split(min(count, len(order)))]


def restore(parts: list[torch.Tensor], rows: list[torch.Tensor]) -> torch.Tensor:
    """Put results of buckets back into the order of the rows."""
    return torch.cat(parts)[torch.cat(rows).argsort()]
