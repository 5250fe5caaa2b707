"""Sample completions from a small causal model: prefill once per prompt, drop finished rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerFast

from gdro.data.prompts import Prompt


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Prompt],
    samples: int,
    seed: int,
    max_tokens: int = 24,
    temperature: float = 1.0,
    rows: int = 1024,
) -> list[list[str]]:
    """`samples` completions of each prompt, in the order of `prompts`, as text without special tokens.

    Prompts of the same length in tokens share a batch of at most `rows` rows (at least one prompt): nothing is
    padded. A completion that has not ended after `max_tokens` tokens is cut there.
    """
    generator = torch.Generator().manual_seed(seed)
    encoded = [encode(tokenizer, prompt) for prompt in prompts]
    completions: list[list[str]] = [[] for _ in prompts]
    for members in _batches(encoded, max(1, rows // samples)):
        ids = torch.tensor([encoded[member] for member in members])
        tokens = _decode(model, ids, samples, tokenizer.eos_token_id, max_tokens, temperature, generator)
        texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
        for place, member in enumerate(members):
            completions[member] = texts[place * samples : (place + 1) * samples]
    return completions


def encode(tokenizer: PreTrainedTokenizerFast, prompt: Prompt) -> list[int]:
    """Token ids of a prompt, plain or a chat, up to where the completion starts."""
    if isinstance(prompt.messages, str):
        return list(tokenizer(prompt.messages).input_ids)
    chat = [dict(message) for message in prompt.messages]
    return list(tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)["input_ids"])


def _batches(encoded: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Positions of prompts of equal length, at most `size` at a time, shortest first."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for position, ids in enumerate(encoded):
        by_length[len(ids)].append(position)
    for length in sorted(by_length):
        positions = by_length[length]
        for start in range(0, len(positions), size):
            yield positions[start : start + size]


def _decode(
    model: PreTrainedModel,
    ids: torch.Tensor,
    samples: int,
    end: int,
    max_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Sampled tokens, (prompts * samples, max_tokens), filled up with `end`."""
    cache = DynamicCache()
    logits = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
    cache.batch_repeat_interleave(samples)
    logits = logits.repeat_interleave(samples, dim=0)
    tokens = torch.full((len(logits), max_tokens), end)
    live = torch.arange(len(logits))
    for step in range(max_tokens):
        noise = torch.empty_like(logits).exponential_(generator=generator)
        drawn = (torch.softmax(logits / temperature, dim=-1) / noise).argmax(dim=-1)
        tokens[live, step] = drawn
        keep = (drawn != end).nonzero().squeeze(1)
        if len(keep) == 0 or step == max_tokens - 1:
            break
        if len(keep) < len(live):
            cache.batch_select_indices(keep)
            live, drawn = live[keep], drawn[keep]
        logits = model(drawn[:, None], past_key_values=cache, use_cache=True).logits[:, -1]
    return tokens
