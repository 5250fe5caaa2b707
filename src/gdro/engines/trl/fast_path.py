"""Whether the fast paths may stand in for the model's own (a reason why not, or None), and TRL's
generation by the sampler of `generation.py`.

They are exact for models in which every layer attends to all tokens before, and which keep nothing
but keys and values. A model is taken for one where its config declares such layers, or where its
kind is in ORDINARY, each of which the tests compare with the model's own path. A missing
declaration says nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate.logging import get_logger
from peft import PeftModel
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from trl.models.utils import unwrap_model_for_generation

from gdro.core.errors import OptionError
from gdro.engines.trl.generation import SamplingOptions, sample_rows

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer

logger = get_logger(__name__)


GENERATE = GenerationMixin.generate
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


def why_not_sampled(model: PreTrainedModel | PeftModel) -> str | None:
    """What about the model keeps it from the fast sampler, or None."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if "generate" in {*vars(model), *vars(base)} or type(base).generate is not GENERATE:
        return "the model has a `generate` of its own"
    return why_not_fast(model)


def why_not_fast(model: PreTrainedModel | PeftModel) -> str | None:
    """What about the model's architecture keeps it from the fast paths, or None."""
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


class FastSampler:
    """Samples the rows of a generation batch, reading each distinct prompt once.

    Attributes:
        why_not: why TRL's own generation is used instead; None where this is.

    Raises:
        OptionError: `generation_rows`, which bounds this sampler only, where it is off.
    """

    def __init__(self, trainer: GDROTrainer) -> None:
        self.trainer = trainer
        self.why_not = _why_not(trainer)
        self._options = None if self.why_not else _options(trainer)
        if self.why_not is None:
            return
        if trainer.args.generation_rows is not None:
            raise OptionError(
                f"generation_rows={trainer.args.generation_rows} bounds the fast path only, which"
                f" is off here: {self.why_not}. Leave it out"
            )
        if trainer.args.fast_generation and not trainer.use_vllm:  # vLLM was asked for
            logger.warning(f"Fast generation is off, TRL's own path is used: {self.why_not}.")

    def sample(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        """One completion a row, as token ids."""
        trainer = self.trainer
        places: dict[tuple[int, ...], int] = {}
        rows = [places.setdefault(tuple(ids), len(places)) for ids in prompt_ids]
        at_once = trainer.args.generation_rows or len(rows)
        parts = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
        unwrapped = unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
        )
        # The model's forward has this context in it; entered here too, it converts the weights to
        # half precision once and not for every token: 30 % less time on a CPU, the same tokens.
        with trainer.accelerator.autocast(), unwrapped as model:
            return [row for part in parts for row in self._part(model, list(places), part)]

    def _part(self, model: Any, prompts: list[tuple[int, ...]], rows: list[int]) -> list[list[int]]:
        """Sample rows in one batch, from the prompts that they continue."""
        assert self._options is not None
        used = list(dict.fromkeys(rows))
        places = {prompt: place for place, prompt in enumerate(used)}
        return sample_rows(
            model, [prompts[i] for i in used], [places[i] for i in rows], self._options
        )


def _why_not(trainer: GDROTrainer) -> str | None:
    if not trainer.args.fast_generation:
        return "fast_generation=False"
    if trainer.use_vllm or trainer.use_transformers_continuous_batching:
        return "vLLM or continuous batching generates"
    if not trainer.text_alone:
        return "tools, images, environments or a rollout function are in use"
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return (
            "FSDP or DeepSpeed shards the weights, so every process must take the same number of"
            " steps"
        )
    model = trainer.accelerator.unwrap_model(trainer.model)
    return why_not_sampled(model) or why_not_options(
        trainer.generation_kwargs, _own_defaults(trainer)
    )


def _own_defaults(trainer: GDROTrainer) -> dict[str, Any]:
    """What the model's own generation config sets."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    defaults: dict[str, Any] = base.generation_config.to_diff_dict()
    return defaults


def _options(trainer: GDROTrainer) -> SamplingOptions:
    given = trainer.generation_kwargs
    # `generate` takes what is None from the model; of TRL's options that can be min_p alone.
    min_p = _own_defaults(trainer).get("min_p") if given["min_p"] is None else given["min_p"]
    return SamplingOptions(
        max_new_tokens=given["max_new_tokens"],
        eos_ids=tuple(np.atleast_1d(given["eos_token_id"]).tolist()),
        pad_id=given["pad_token_id"],
        temperature=given["temperature"],
        top_k=given["top_k"] or 0,
        top_p=1.0 if given["top_p"] is None else given["top_p"],
        min_p=min_p,
    )
