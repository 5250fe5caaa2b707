"""Whether the fast sampler may stand in for `model.generate`: a reason why not, or None."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

NEEDED_ARGUMENTS = ("attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep")
PLAIN_OPTIONS = frozenset(
    {"max_new_tokens", "do_sample", "pad_token_id", "bos_token_id", "eos_token_id", "temperature", "top_p", "top_k"}
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
    declared = config.to_dict()
    kinds = set(declared.get("layer_types") or ["full_attention"])
    if kinds != {"full_attention"}:
        return f"the model has {', '.join(sorted(kinds - {'full_attention'}))} layers"
    if declared.get("sliding_window") and declared.get("use_sliding_window", True):
        return "the model has sliding-window attention"
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"attention implementation {config._attn_implementation!r}"
    accepted = inspect.signature(type(model).forward).parameters
    missing = [name for name in NEEDED_ARGUMENTS if name not in accepted]
    return f"the model's forward has no {', '.join(missing)}" if missing else None


def why_not_options(generation_kwargs: Mapping[str, Any], model_defaults: Mapping[str, Any]) -> str | None:
    """What about the generation options keeps them from the fast sampler, or None.

    Args:
        generation_kwargs: what TRL would give to `GenerationConfig`.
        model_defaults: the options that differ from the library's defaults in the model's own generation config.
    """
    for name, value in {**model_defaults, **generation_kwargs}.items():
        if name not in PLAIN_OPTIONS and value is not None and value is not False:
            return f"generation option {name}={value!r}"
    if generation_kwargs["repetition_penalty"] not in (None, 1.0):
        return f"repetition_penalty={generation_kwargs['repetition_penalty']}"
    if generation_kwargs["cache_implementation"] is not None:
        return f"cache_implementation={generation_kwargs['cache_implementation']!r}"
    return None if generation_kwargs["do_sample"] else "do_sample=False"
