"""Sampling that reads each distinct prompt once and takes finished rollouts out of the batch.

Same distribution as `model.generate`, whose own logits warpers are used. Up to a vocabulary of
LARGE_VOCABULARY the random numbers are the same too, on CPU: noise is drawn for every row at every
step, in the order of the rows, so a seed gives the completions that `generate` gives, unless
rounding tips a near-tie between two tokens. Beyond it one number a row is drawn, not one a token.

The key-value cache is allocated once, filled in place, spread over ragged rollouts and compacted in
place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gdro.core.errors import OptionError

COMPACT_BELOW = 0.85
"""Rows are taken out of the batch once this share or less of it is unfinished."""
LARGE_VOCABULARY = 8192
"""Noise for every token costs more than the model's last layer where there are many tokens: 112 ms
for 64 rows of 49,152 on one CPU core, 32 ms with one number a row."""


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How to sample a completion.

    Attributes:
        max_new_tokens: bound on a completion's length, its end token included.
        eos_ids: tokens that end a completion (they are part of it).
        pad_id: any token id; it fills the left of shorter prompts, where it is masked.
        temperature: divisor of the logits; 0 is greedy, the likeliest token each time.
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: keep the likeliest tokens up to this mass; 1 keeps all.
        min_p: drop tokens below this share of the likeliest one's probability; None keeps all.
    """

    max_new_tokens: int
    eos_ids: tuple[int, ...]
    pad_id: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise OptionError(f"max_new_tokens={self.max_new_tokens}: it must be at least 1")
        if not self.temperature >= 0:
            raise OptionError(
                f"temperature={self.temperature}: it must be 0, which is greedy, or positive"
            )

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn at random."""
        return self.temperature == 0

    def warpers(self) -> LogitsProcessorList:
        """The logits warpers that `generate` would use, in its order; none when greedy."""
        chosen = LogitsProcessorList()
        if self.greedy:
            return chosen
        if self.temperature != 1.0:
            chosen.append(TemperatureLogitsWarper(self.temperature))
        if self.top_k:
            chosen.append(TopKLogitsWarper(top_k=self.top_k, min_tokens_to_keep=1))
        if self.top_p < 1.0:
            chosen.append(TopPLogitsWarper(top_p=self.top_p, min_tokens_to_keep=1))
        if self.min_p is not None:
            chosen.append(MinPLogitsWarper(min_p=self.min_p, min_tokens_to_keep=1))
        return chosen


@torch.no_grad()
def sample_rows(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    row_prompts: Sequence[int],
    options: SamplingOptions,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Sample one completion a row.

    Args:
        model: a causal language model that `why_not_fast` has nothing against, unwrapped.
        prompts: U distinct prompts as token ids, none empty.
        row_prompts: (R,) which prompt each row continues, in any order.
        options: how to sample.
        generator: of the model's device; the device's default generator when None.

    Returns:
        R completions as token ids, the end token included when there is one.
    """
    if not row_prompts:
        return []
    device = model.device
    source_R = torch.tensor(row_prompts, device=device)
    eos = torch.tensor(options.eos_ids, device=device)
    warpers, limit = options.warpers(), options.max_new_tokens
    cache = SlabCache(model.config.get_text_config().num_hidden_layers)
    ids, mask = left_pad(prompts, options.pad_id, device)
    width = ids.shape[1]
    position_ids = (mask.cumsum(1) - 1).clamp(min=0)
    logits = _forward(model, ids, mask, position_ids, cache)[source_R]
    cache.spread(source_R, width + limit)
    mask = torch.cat([mask, mask.new_ones(len(prompts), limit)], 1)[source_R]
    position = (position_ids[:, -1:] + 1)[source_R]
    out = torch.full((source_R.numel(), limit), options.pad_id, device=device)
    length = torch.full((source_R.numel(),), limit, device=device)
    rows = torch.arange(source_R.numel(), device=device)  # the row of each place in the batch
    running = torch.ones_like(rows, dtype=torch.bool)
    noise = _Noise(source_R.numel(), logits.shape[-1], device, generator)
    for step in range(limit):
        if options.greedy:
            tokens = logits.float().argmax(-1)
        else:
            tokens = noise.draw(torch.softmax(warpers(ids, logits.float()), -1), rows)
        out[rows, step] = torch.where(running, tokens, options.pad_id)
        ended = running & torch.isin(tokens, eos)
        length[rows[ended]] = step + 1
        running = running & ~ended
        live = int(running.sum())
        if live == 0 or step + 1 == limit:
            break
        if live <= COMPACT_BELOW * rows.numel():
            kept = running.nonzero()[:, 0]
            cache.keep(kept)
            rows, tokens, mask, position = rows[kept], tokens[kept], mask[kept], position[kept]
            running = running[kept]
        logits = _forward(model, tokens[:, None], mask[:, : width + step + 1], position, cache)
        position = position + 1
    ends = length.tolist()
    return [row[:end] for row, end in zip(out.tolist(), ends, strict=True)]


class _Noise:
    """Draws one token a row; what the other rows do changes nothing in what a row gets."""

    def __init__(
        self, rows: int, vocabulary: int, device: torch.device, generator: torch.Generator | None
    ) -> None:
        self.generator = generator
        self.by_token = vocabulary <= LARGE_VOCABULARY
        shape = (rows, vocabulary) if self.by_token else (rows, 1)
        # In double precision: the sum of all probabilities is finer than the smallest that counts.
        self.noise = torch.empty(
            shape, dtype=torch.float32 if self.by_token else torch.float64, device=device
        )

    def draw(self, probs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(n,) tokens from (n, vocabulary) probabilities of the rows (n,) of the batch."""
        noise = self.noise
        if self.by_token:
            noise.exponential_(generator=self.generator)
        else:
            noise.uniform_(generator=self.generator)
        if rows.numel() < noise.shape[0]:
            noise = noise[rows]
        return (probs / noise).argmax(-1) if self.by_token else _inverse_cdf(probs, noise)


def _inverse_cdf(probs: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """(n,) the first token whose cumulated probability exceeds the share `uniform` (n, 1) of all;
    never one of probability 0."""
    cumulated = probs.double().cumsum(-1)
    total = cumulated[:, -1:]
    below = torch.nextafter(total, torch.zeros_like(total))  # a share just under 1 rounds up to all
    return torch.searchsorted(cumulated, torch.minimum(uniform * total, below), right=True)[:, 0]


def left_pad(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(U, P) token ids, padded on the left, and their mask (int64, 1 for a token)."""
    width = max(len(prompt) for prompt in prompts)
    ids = [[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _forward(
    model: PreTrainedModel,
    ids: torch.Tensor,
    mask: torch.Tensor,
    position_ids: torch.Tensor,
    cache: SlabCache,
) -> torch.Tensor:
    """(rows, vocabulary) logits after the last token."""
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=position_ids,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: torch.Tensor = output.logits[:, -1]
    return logits


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
