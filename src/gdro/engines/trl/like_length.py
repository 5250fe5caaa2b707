"""Rollouts of like length together in the update, so that little of a forward pass is padding.

`of_like_length` sorts the rollouts of each optimiser batch into its micro-batches: as many rows
each as before, so that sums over tokens and means over rows stay what they were. `in_batches` reads
one micro-batch in several forward passes of like length. Log-probabilities come back in the order
of the rows, so no loss knows of it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

from gdro.core.types import Ints
from gdro.engines.trl.batch import Inputs
from gdro.engines.trl.dropping import TOKEN_LOSSES, trim
from gdro.objectives.packing import Bins, like_length

Forward = Callable[[torch.Tensor, torch.Tensor, int], Any]
"""(ids, mask, completion columns) -> log-probabilities, entropies or None, something else."""

MOST_PASSES = 8
"""Forward passes that one micro-batch is read in."""
PASS_COST = {"cpu": 64, "cuda": 4096}
"""What a forward pass costs beside its tokens, in tokens: too little work keeps no GPU busy."""


def of_like_length(batches: list[Inputs], window: int, loss_type: str) -> list[Inputs]:
    """The micro-batches of a generation batch, each window's rollouts dealt anew by length.

    Rollouts with an advantage are dealt in stretches of like length, those without fill up: where
    these are left out of the pass, every micro-batch keeps about as many rows.

    Args:
        batches: micro-batches of as many rows each.
        window: micro-batches of one optimiser step.
        loss_type: TRL's; a mean over the tokens of each micro-batch (bnpo) is left as it is.
    """
    if window < 2 or loss_type in TOKEN_LOSSES or not all(map(_plain, batches)):
        return batches
    dealt = []
    for start in range(0, len(batches), window):
        dealt += _dealt(batches[start : start + window])
    return dealt


def _dealt(batches: list[Inputs]) -> list[Inputs]:
    """One window's micro-batches."""
    joined = {
        key: torch.cat([batch[key] for batch in batches]) if _by_row(value) else value
        for key, value in batches[0].items()
    }
    length = (joined["prompt_mask"].sum(1) + joined["completion_mask"].sum(1)).cpu().numpy()
    live = (joined["advantages"] != 0).cpu().numpy()
    places = np.arange(len(length))
    order = np.lexsort((places, length, ~live))  # live ones first, by length
    rows, parts = len(length) // len(batches), len(batches)
    living, dead = order[: live.sum()], order[live.sum() :]
    ends = np.linspace(0, len(living), parts + 1).round().astype(np.int64)
    found, used = [], 0
    for first, last in pairwise(ends):
        spare = dead[used : used + rows - (last - first)]
        used += len(spare)
        chosen = torch.from_numpy(np.sort(np.concatenate([living[first:last], spare])))
        chosen = chosen.to(joined["advantages"].device)
        own = {k: v[chosen] if _by_row(v) else v for k, v in joined.items()}
        found.append(trim(own))
    return found


def passes(lengths: Ints, device: str) -> int:
    """How many forward passes of like length cost least; 1 where one pass does.

    Args:
        lengths: (R,) tokens of the rows.
    """
    each = PASS_COST.get(device, PASS_COST["cuda"])
    costs = [
        number * each + sum(len(p) * int(lengths[p].max()) for p in like_length(lengths, number))
        for number in range(1, min(MOST_PASSES, len(lengths)) + 1)
    ]
    return 1 + int(np.argmin(costs))


def in_batches(
    forward: Forward, ids: torch.Tensor, mask: torch.Tensor, columns: int, bins: Bins
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(R, columns) log-probabilities and entropies, read in one forward pass a bin.

    Args:
        ids, mask: (R, W) prompts padded on the left, then `columns` completion columns padded on
            the right.
    """
    logps, entropies = [], []
    split = ids.shape[1] - columns
    for places in bins:
        rows = torch.tensor(places, device=ids.device)
        own = mask[rows]
        first = int(own[:, :split].any(0).int().argmax())
        width = max(int(own[:, split:].any(0).sum()), 1)
        stretch = slice(first, split + width)
        result = forward(ids[rows][:, stretch], own[:, stretch], width)
        logps.append(pad(result[0], (0, columns - width)))
        if result[1] is not None:
            entropies.append(pad(result[1], (0, columns - width)))
    back = torch.argsort(torch.tensor([place for places in bins for place in places]))
    back = back.to(ids.device)
    return torch.cat(logps)[back], torch.cat(entropies)[back] if entropies else None


def _by_row(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0


def _plain(batch: Inputs) -> bool:
    """Whether a micro-batch is text: nothing in it but tensors."""
    tensors = all(isinstance(value, torch.Tensor) for value in batch.values() if value is not None)
    return tensors and "pixel_values" not in batch
