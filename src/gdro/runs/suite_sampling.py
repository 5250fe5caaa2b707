"""Samplers for the suites: vLLM where `generation.backend` says so, else the trainer's own. Both
give texts, prompt by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gdro.config import TrainConfig
from gdro.core.errors import RunError
from gdro.data.chat import TemplateValues, encode
from gdro.data.prompts import Prompt
from gdro.engines.trl.evaluation import sample
from gdro.engines.trl.generation import SamplingOptions
from gdro.engines.trl.vllm import request_seeds, telling
from gdro.models.loading import load_tokenizer
from gdro.models.locate import locate
from gdro.runs.policy import load_policy
from gdro.runs.vllm import check_installed, own_engine


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample: as `evaluation` and `generation` of a run's settings, and its seed.

    `rows` is the most completions sampled together by transformers; vLLM decides for itself. Other
    than for vLLM, the completions depend on it.
    """

    samples: int
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    seed: int
    rows: int

    @classmethod
    def of(cls, config: TrainConfig, rows: int = 64) -> Sampling:
        """From a run's settings."""
        drawn = config.evaluation
        longest = config.lengths.completion
        return cls(
            drawn.num_generations,
            drawn.temperature,
            drawn.top_p,
            drawn.top_k,
            longest,
            config.seed,
            rows,
        )


class Sampler(Protocol):
    """Draws `samples` completions of each prompt.

    Attributes:
        name: for the record.
        tokenizer: the model's.
    """

    name: str
    tokenizer: Any

    def __call__(self, prompts: Sequence[Prompt], how: Sampling) -> list[list[str]]:
        """(M lists of `samples` texts), in the order of the prompts."""


class TransformersSampler:
    """The trainer's own sampler, on the device where the model is put."""

    name = "transformers"

    def __init__(self, model: str, template_values: TemplateValues) -> None:
        import torch
        import transformers

        transformers.logging.disable_progress_bar()
        self.policy = replace(load_policy(model), template_values=template_values)
        self.tokenizer = self.policy.tokenizer
        if torch.cuda.is_available():
            self.policy.model.to("cuda", torch.bfloat16)

    def __call__(self, prompts: Sequence[Prompt], how: Sampling) -> list[list[str]]:
        """See `Sampler`."""
        tokenizer = self.policy.tokenizer
        options = SamplingOptions(
            how.max_tokens,
            self.policy.end_tokens,
            tokenizer.pad_token_id,
            how.temperature,
            how.top_k,
            how.top_p,
        )
        encoded = [self.policy.encode(prompt) for prompt in prompts]
        if self.policy.context is not None:
            _check_places(encoded, how.max_tokens, self.policy.context, "the model has")
        rows = sample(
            self.policy.model, encoded, how.samples, options, seed=how.seed, rows_per_batch=how.rows
        )
        return _decoded(rows, tokenizer)


class VllmSampler:
    """vLLM, offline: one engine for all suites, a request with its own seed for each prompt."""

    name = "vllm"

    def __init__(self, model: str, config: TrainConfig) -> None:
        self.tokenizer = load_tokenizer(locate(model))
        self._values = config.data.chat_template_kwargs or {}
        self._places = config.lengths.prompt + config.lengths.completion
        self._engine = own_engine(model, config)

    def __call__(self, prompts: Sequence[Prompt], how: Sampling) -> list[list[str]]:
        """See `Sampler`."""
        encoded = [encode(prompt.messages, self.tokenizer, self._values) for prompt in prompts]
        _check_places(encoded, how.max_tokens, self._places, "both lengths together")
        # vLLM adds the end tokens of the model's own generation config
        ends, pad = (self.tokenizer.eos_token_id,), self.tokenizer.pad_token_id
        options = SamplingOptions(how.max_tokens, ends, pad, how.temperature, how.top_k, how.top_p)
        seeds = request_seeds([prompt.id for prompt in prompts], how.seed)
        with telling("vLLM does not sample"):
            rows = self._engine(encoded, how.samples, options, seeds)
        return _decoded(rows, self.tokenizer)


def make_sampler(model: str, config: TrainConfig) -> Sampler:
    """What `generation.backend` says; fast and transformers are the trainer's own sampler.

    Raises:
        RunError: vLLM is asked for and not installed.
        GDROError: the model cannot be loaded.
    """
    if config.generation.backend == "vllm":
        check_installed()
        return VllmSampler(model, config)
    return TransformersSampler(model, config.data.chat_template_kwargs or {})


def _check_places(encoded: Sequence[Sequence[int]], room: int, places: int, whose: str) -> None:
    """Raises RunError where the longest prompt leaves no room for a completion."""
    longest = max(map(len, encoded))
    if longest + room > places:
        raise RunError(
            f"the longest prompt has {longest} tokens; with {room} for the completion that is more"
            f" than {whose}, {places} positions; lower max_completion_length"
        )


def _decoded(rows: Sequence[Sequence[Sequence[int]]], tokenizer: Any) -> list[list[str]]:
    return [
        [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in group] for group in rows
    ]
