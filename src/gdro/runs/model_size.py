"""A model's sizes without its weights: from its config.json or .gguf header, else from the number
in its name."""

from __future__ import annotations

import re
from dataclasses import astuple
from pathlib import Path
from typing import Any

from gdro.core.errors import ModelError, RunError
from gdro.models.gguf import Header, read_header
from gdro.models.locate import Location, adapter_base, locate
from gdro.models.pretrained import from_pretrained
from gdro.runs.estimate import Architecture

_NAME = re.compile(r"(?<![\d.A-Za-z])(\d+(?:\.\d+)?)\s*([BbMm])(?![A-Za-z])")


def model_size(name: str, billions: float = 0.0) -> tuple[Architecture, str]:
    """The sizes, and where they come from, in words.

    Args:
        name: as `model:` takes it. Only config.json is read, and parameters are counted on a model
            without storage; or only the header of a .gguf file.
        billions: the number of parameters in 10^9 where it is given; 0 takes the model's own.

    Raises:
        ModelError: nothing of that name on this machine, or it is damaged.
        RunError: a hub name without a number such as 1.7B in it, not in the local cache, and none
            given.
    """
    sizes, origin = _known(name)
    if billions:
        given = round(billions * 1e9)
        return Architecture(given, *_rest(sizes)), "--assume parameters"
    if sizes is not None:
        return sizes, origin
    found = _NAME.search(name.rpartition("/")[2])
    if found is None:
        raise RunError(
            f"model={name}: {origin}, and its name says no size; set --assume parameters=BILLIONS"
        )
    scale = 1e9 if found[2] in "Bb" else 1e6
    return Architecture(round(float(found[1]) * scale)), f"the name ({origin})"


def positions(name: str) -> int | None:
    """Positions that the model was made for; None where its config does not say, or is not on this
    machine.

    Raises:
        ModelError: as `model_size`.
    """
    sizes, _ = _known(name)
    return None if sizes is None else sizes.positions


def _known(name: str) -> tuple[Architecture | None, str]:
    """Sizes from config.json or a .gguf header; None for a hub name that is not in the local
    cache."""
    location = locate(name)
    if location.kind == "adapter":
        return _known(adapter_base(Path(location.path)))
    if location.kind == "gguf":
        return _from_header(read_header(Path(location.path))), "the .gguf file"
    return _from_config(location)


def _from_config(location: Location) -> tuple[Architecture | None, str]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = from_pretrained(AutoConfig, f"model={location.name}", location.path, "config.json")
    except ModelError:
        if location.kind == "hub":
            return None, "no config.json in a folder of that name, in the local cache or on the hub"
        raise
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config().to_dict()
    return Architecture(sum(p.numel() for p in model.parameters()), *_sizes(text)), "config.json"


def _from_header(header: Header) -> Architecture:
    heads, hidden = header.number("attention.head_count"), header.number("embedding_length")
    vocabulary = next(
        (tensor.shape[-1] for tensor in header.tensors if tensor.name == "token_embd.weight"), None
    )
    return Architecture(
        header.parameters,
        header.number("block_count"),
        hidden,
        header.number("attention.head_count_kv") or heads,
        header.number("attention.key_length") or (hidden // heads if heads and hidden else None),
        vocabulary,
        header.number("context_length"),
    )


def _sizes(text: dict[str, Any]) -> tuple[int | None, ...]:
    heads, hidden = text.get("num_attention_heads"), text.get("hidden_size")
    head_dim = text.get("head_dim") or (hidden // heads if heads and hidden else None)
    kv_heads = text.get("num_key_value_heads") or heads
    layers, vocabulary = text.get("num_hidden_layers"), text.get("vocab_size")
    return layers, hidden, kv_heads, head_dim, vocabulary, text.get("max_position_embeddings")


def _rest(sizes: Architecture | None) -> tuple[int | None, ...]:
    return () if sizes is None else astuple(sizes)[1:]
