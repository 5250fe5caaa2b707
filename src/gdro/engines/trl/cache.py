"""A key-value cache that is allocated once, filled in place, spread over ragged rollouts and
compacted in place."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class SlabLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer as views of a (rows, heads, capacity, size) slab."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.length = 0
        self.rows = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Take the first states as the whole cache: the prefill."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states, value_states
        self.rows, self.length = key_states.shape[0], key_states.shape[-2]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states; returns all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            return self.keys, self.values
        start, self.length = self.length, self.length + key_states.shape[-2]
        self.keys[: self.rows, :, start : self.length] = key_states
        self.values[: self.rows, :, start : self.length] = value_states
        return self.keys[: self.rows, :, : self.length], self.values[: self.rows, :, : self.length]

    def spread(self, source_R: torch.Tensor, capacity: int) -> None:
        """Give each of R rollouts a copy of the row `source_R` of its prompt, with room for
        `capacity` tokens."""
        self.keys, self.values = (
            self._spread(slab, source_R, capacity) for slab in (self.keys, self.values)
        )
        self.rows = source_R.numel()

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only these rows (ascending indices), moved to the front of the slab."""
        for slab in (self.keys, self.values):
            slab[: rows.numel(), :, : self.length] = slab[:, :, : self.length].index_select(0, rows)
        self.rows = rows.numel()

    def _spread(self, slab: torch.Tensor, source_R: torch.Tensor, capacity: int) -> torch.Tensor:
        heads, size = slab.shape[1], slab.shape[3]
        wide = slab.new_empty(source_R.numel(), heads, capacity, size)
        wide[:, :, : self.length] = slab.index_select(0, source_R)
        return wide

    def get_seq_length(self) -> int:
        """Tokens in the cache."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a query of this length sees."""
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        """No limit before `spread`."""
        return -1


class SlabCache(Cache):  # type: ignore[misc]
    """One `SlabLayer` a decoder layer."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[SlabLayer() for _ in range(layers)])

    def spread(self, source_R: torch.Tensor, capacity: int) -> None:
        """See `SlabLayer.spread`."""
        for layer in self.layers:
            layer.spread(source_R, capacity)

    def keep(self, rows: torch.Tensor) -> None:
        """See `SlabLayer.keep`."""
        for layer in self.layers:
            layer.keep(rows)
