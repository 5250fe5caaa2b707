"""A Qwen3 of about 0.9 M parameters: the architecture of the large runs at a size that trains on
one core."""

from __future__ import annotations

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM


def new_model(
    tokenizer: PreTrainedTokenizerFast, hidden: int, intermediate: int, layers: int, seed: int
) -> Qwen3ForCausalLM:
    """Freshly drawn fp32 weights for `tokenizer`: heads of 32, two query heads per key head, tied
    embeddings.

    Raises:
        ValueError: `hidden` is not a multiple of 64.
    """
    if hidden % 64:
        raise ValueError(f"hidden must be a multiple of 64, got {hidden}")
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 64,
        head_dim=32,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.05,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return model
