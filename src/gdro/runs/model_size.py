"""A model's sizes without its weights: from its config.json, else from the number in its name."""

from __future__ import annotations

import re
from typing import Any

from gdro.runs.errors import RunError
from gdro.runs.estimate import Architecture
from gdro.runs.policy import model_path

_NAME = re.compile(r"(?<![\d.A-Za-z])(\d+(?:\.\d+)?)\s*([BbMm])(?![A-Za-z])")


def model_size(name: str, billions: float = 0.0) -> tuple[Architecture, str]:
    """The sizes, and where they come from, in words.

    Args:
        name: a Hugging Face folder or name, or `tiny`. Only config.json is read; parameters are counted on a model
            without storage.
        billions: the number of parameters in 10^9 where it is given; 0 takes the model's own.

    Raises:
        RunError: no config.json, no number such as 1.7B in the name, and none given.
    """
    sizes, origin = _from_config(name)
    if billions:
        given = round(billions * 1e9)
        return Architecture(given, *_rest(sizes)), "--assume parameters"
    if sizes is not None:
        return sizes, origin
    found = _NAME.search(name.rpartition("/")[2])
    if found is None:
        raise RunError(f"model={name}: {origin}, and its name says no size; set --assume parameters=BILLIONS")
    scale = 1e9 if found[2] in "Bb" else 1e6
    return Architecture(round(float(found[1]) * scale)), f"the name ({origin})"


def _from_config(name: str) -> tuple[Architecture | None, str]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(model_path(name))
    except (OSError, ValueError):
        return None, "no config.json in a folder of that name, in the local cache or on the hub"
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config().to_dict()
    return Architecture(sum(p.numel() for p in model.parameters()), *_sizes(text)), "config.json"


def _sizes(text: dict[str, Any]) -> tuple[int | None, ...]:
    heads, hidden = text.get("num_attention_heads"), text.get("hidden_size")
    head_dim = text.get("head_dim") or (hidden // heads if heads and hidden else None)
    kv_heads = text.get("num_key_value_heads") or heads
    return text.get("num_hidden_layers"), hidden, kv_heads, head_dim, text.get("vocab_size")


def _rest(sizes: Architecture | None) -> tuple[int | None, ...]:
    return () if sizes is None else (sizes.layers, sizes.hidden, sizes.kv_heads, sizes.head_dim, sizes.vocabulary)
