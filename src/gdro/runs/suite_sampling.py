"""Samplers for the suites: vLLM where it is installed, transformers elsewhere. Both give texts,
prompt by prompt."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from gdro.config import TrainConfig
from gdro.data.chat import TemplateValues
from gdro.data.prompts import Prompt
from gdro.models.loading import plain_folder
from gdro.runs.errors import RunError
from gdro.runs.policy import load_policy


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
        from gdro.engines.trl.evaluation import sample
        from gdro.engines.trl.generation import SamplingOptions

        tokenizer = self.policy.tokenizer
        ends = self.policy.model.generation_config.eos_token_id
        extra = () if ends is None else np.atleast_1d(ends).tolist()
        options = SamplingOptions(
            how.max_tokens,
            tuple({tokenizer.eos_token_id, *extra}),
            tokenizer.pad_token_id,
            how.temperature,
            how.top_k,
            how.top_p,
        )
        encoded = [self.policy.encode(prompt) for prompt in prompts]
        longest, places = max(map(len, encoded)), self.policy.context
        if places is not None and longest + how.max_tokens > places:
            raise RunError(
                f"the longest prompt has {longest} tokens; with {how.max_tokens} for the completion"
                f" that is more than the model's {places} positions; lower max_completion_length"
            )
        rows = sample(
            self.policy.model, encoded, how.samples, options, seed=how.seed, rows_per_batch=how.rows
        )
        return [
            [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in group]
            for group in rows
        ]


class VllmSampler:
    """vLLM, offline: one engine for all suites, `n` samples a request."""

    name = "vllm"

    def __init__(
        self, model: str, max_length: int, dtype: str, template_values: TemplateValues
    ) -> None:
        vllm: Any = importlib.import_module("vllm")
        self._params, self._values = vllm.SamplingParams, dict(template_values)
        self._engine = vllm.LLM(model=plain_folder(model), dtype=dtype, max_model_len=max_length)
        self.tokenizer = self._engine.get_tokenizer()

    def __call__(self, prompts: Sequence[Prompt], how: Sampling) -> list[list[str]]:
        """See `Sampler`."""
        params = self._params(
            n=how.samples,
            temperature=how.temperature,
            top_p=how.top_p,
            top_k=how.top_k or -1,
            max_tokens=how.max_tokens,
            seed=how.seed,
        )
        chats = [_chat(prompt) for prompt in prompts]
        answers = self._engine.chat(
            chats, params, use_tqdm=False, chat_template_kwargs=self._values
        )
        texts = [[output.text for output in answer.outputs] for answer in answers]
        if len(texts) != len(prompts) or any(len(group) != how.samples for group in texts):
            raise RunError(
                f"vLLM gave {sum(map(len, texts))} completions, not {len(prompts)} x {how.samples}"
            )
        return texts


def make_sampler(engine: str, model: str, config: TrainConfig) -> Sampler:
    """`vllm`, `transformers`, or `auto`: vLLM where it is installed.

    Raises:
        RunError: vllm is asked for and not installed, or the model cannot be loaded.
    """
    installed = importlib.util.find_spec("vllm") is not None
    if engine == "vllm" and not installed:
        raise RunError(
            "--engine vllm: vLLM is not installed here; install it, or take --engine transformers"
        )
    if engine == "transformers" or not installed:
        return TransformersSampler(model, config.data.chat_template_kwargs or {})
    longest = config.lengths.prompt + config.lengths.completion
    return VllmSampler(model, longest, config.dtype, config.data.chat_template_kwargs or {})


def _chat(prompt: Prompt) -> list[dict[str, str]]:
    if isinstance(prompt.messages, str):
        return [{"role": "user", "content": prompt.messages}]
    return [dict(message) for message in prompt.messages]
