"""Whether the fast paths may stand in for the model's own: a reason why not, or None.

They are exact for models in which every layer attends to all tokens before, and which keep nothing
but keys and values. A model is taken for one where its config declares such layers, or where its
kind is in ORDINARY, each of which the tests compare with the model's own path. A missing
declaration says nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from peft import PeftModel
from transformers import PretrainedConfig, PreTrainedModel

NEEDED_ARGUMENTS = (
    "attention_mask",
    "position_ids",
    "past_key_values",
    "use_cache",
    "logits_to_keep",
)
ORDINARY = frozenset(
    {"arcee", "cohere", "gemma", "glm", "glm4", "gpt_neox", "granite", "helium", "llama", "mistral"}
    | {"mixtral", "olmo", "olmo2", "olmoe", "phi", "phi3", "qwen3_moe", "stablelm", "starcoder2"}
)
"""Kinds of models whose configs declare no layer types, and whose layers all have full
attention."""
PLAIN_OPTIONS = frozenset(
    {
        "max_new_tokens",
        "do_sample",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "temperature",
        "top_p",
        "top_k",
    }
    | {"min_p", "repetition_penalty", "cache_implementation", "max_length", "use_cache"}
    | {"transformers_version", "_from_model_config"}
)


def why_not_fast(model: PreTrainedModel | PeftModel) -> str | None:
    """What about the model's architecture keeps it from the fast sampler, or None."""
    if isinstance(model, PeftModel):
        if any(config.is_prompt_learning for config in model.peft_config.values()):
            return "a prompt-learning adapter puts virtual tokens before the prompt"
        model = model.get_base_model()
    config = model.config.get_text_config()
    if model.config.is_encoder_decoder:
        return "the model is an encoder-decoder"
    if model._is_stateful:
        return "the model keeps a recurrent state"
    if (reason := _why_not_full_attention(config)) is not None:
        return reason
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"attention implementation {config._attn_implementation!r}"
    accepted = inspect.signature(type(model).forward).parameters
    missing = [name for name in NEEDED_ARGUMENTS if name not in accepted]
    return f"the model's forward has no {', '.join(missing)}" if missing else None


def _why_not_full_attention(config: PretrainedConfig) -> str | None:
    """What keeps a model from being taken for one of full attention in every layer, or None."""
    # Fields that only some configs have; `layer_types` may be an alias, which `to_dict` leaves out.
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention"}:
        return f"the model has {', '.join(sorted(kinds - {'full_attention'}))} layers"
    windowed = getattr(config, "sliding_window", None) and getattr(
        config, "use_sliding_window", True
    )
    if windowed:
        return "the model has sliding-window attention"
    if not kinds and config.model_type not in ORDINARY:
        return f"models of the kind {config.model_type!r} do not declare what their layers are"
    return None


def why_not_options(
    generation_kwargs: Mapping[str, Any], model_defaults: Mapping[str, Any]
) -> str | None:
    """What about the generation options keeps them from the fast sampler, or None.

    Args:
        generation_kwargs: what TRL would give to `GenerationConfig`.
        model_defaults: the options that differ from the library's defaults in the model's own
            generation config.
    """
    for name, value in {**model_defaults, **generation_kwargs}.items():
        if name not in PLAIN_OPTIONS and value is not None and value is not False:
            return f"generation option {name}={value!r}"
    if generation_kwargs["repetition_penalty"] not in (None, 1.0):
        return f"repetition_penalty={generation_kwargs['repetition_penalty']}"
    if generation_kwargs["cache_implementation"] is not None:
        return f"cache_implementation={generation_kwargs['cache_implementation']!r}"
    return None if generation_kwargs["do_sample"] else "do_sample=False"
