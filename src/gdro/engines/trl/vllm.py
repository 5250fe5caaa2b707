"""vLLM beside `GDROTrainer`: samples for evaluation with a seed a request, and its errors in words.

Training rollouts are TRL's own (`trl.generation.VLLMGeneration`). TRL gives every request of a call
the same sampling parameters, so a seed there would give equal prompts equal rollouts; for
evaluation, where a seed must fix the samples, requests are made here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from transformers import set_seed

from gdro.core.errors import GDROError
from gdro.core.hashing import prompt_key, step_keys
from gdro.engines.trl.generation import SamplingOptions

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer

AT_ONCE = 64
"""Requests that are under way at a server at the same time, as many as TRL's client keeps open."""
REFUSALS = (ImportError, OSError, RuntimeError, ValueError)
"""What vLLM, TRL's client and `requests` raise; TRL's client also raises a bare Exception."""


class GenerationError(GDROError, RuntimeError):
    """vLLM could not be started, or stopped answering."""


class Engine(Protocol):
    """A vLLM that has the weights to sample from.

    Attributes:
        collective: whether every process has to make the same call.
    """

    collective: bool

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        count: int,
        options: SamplingOptions,
        seeds: Sequence[int],
    ) -> list[list[list[int]]]:
        """`count` completions of each prompt as token ids, the end token included.

        Args:
            prompts: M prompts as token ids.
            count: completions of each.
            options: how to sample.
            seeds: (M,) of each prompt's request; vLLM counts up from it for the completions.
        """


class LocalEngine:
    """A `vllm.LLM` of this process."""

    def __init__(self, llm: Any, *, collective: bool = False) -> None:
        self.llm, self.collective = llm, collective

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        count: int,
        options: SamplingOptions,
        seeds: Sequence[int],
    ) -> list[list[list[int]]]:
        """See `Engine`. The global random generators are left as they were."""
        params: Any = importlib.import_module("vllm").SamplingParams
        wanted = [params(n=count, seed=seed, **_parameters(options)) for seed in seeds]
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):
            answers = self.llm.generate(
                [{"prompt_token_ids": list(prompt)} for prompt in prompts],
                sampling_params=wanted,
                use_tqdm=False,
            )
        found = []
        for prompt, answer in zip(prompts, answers, strict=True):
            if list(answer.prompt_token_ids) != list(prompt):
                raise GenerationError("vLLM's answers are not in the order of the requests")
            made = sorted(answer.outputs, key=lambda output: output.index)
            found.append(_all_of(count, [list(output.token_ids) for output in made]))
        return found


class ServerEngine:
    """A vLLM server, through TRL's client."""

    collective = False

    def __init__(self, client: Any) -> None:
        self.client = client

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        count: int,
        options: SamplingOptions,
        seeds: Sequence[int],
    ) -> list[list[list[int]]]:
        """See `Engine`. A request a prompt: those of one request would share its seed."""
        given = _parameters(options)
        stop = given.pop("stop_token_ids")

        def send(prompt: Sequence[int], seed: int) -> list[list[int]]:
            answer = self.client.generate(
                prompts=[list(prompt)],
                n=count,
                **given,
                logprobs=None,
                generation_kwargs={"seed": seed, "stop_token_ids": stop},
            )
            return _all_of(count, answer["completion_ids"])

        with ThreadPoolExecutor(max_workers=max(1, min(AT_ONCE, len(prompts)))) as pool:
            return list(pool.map(send, prompts, seeds))


def request_seeds(ids: Sequence[str], seed: int) -> list[int]:
    """(M,) seeds of the requests of prompts, each its own: equal texts under two ids differ, and
    so does the noise of different ones."""
    keys = np.array([prompt_key(prompt) for prompt in ids], dtype=np.uint64)
    seeds: list[int] = (step_keys(keys, seed, 0) >> np.uint64(2)).tolist()  # vLLM takes int64
    return seeds


def engine_of(trainer: GDROTrainer) -> Engine:
    """The vLLM that a trainer generates with, with the policy's weights of now.

    To be called on every process: to gather sharded weights takes all of them.
    """
    generation = trainer.vllm_generation
    generation.sync_weights()
    if generation.mode == "server":
        # TRL makes a client on the main process alone, and there alone evaluation asks.
        main = trainer.accelerator.is_main_process
        return ServerEngine(generation.vllm_client if main else None)
    return LocalEngine(generation.llm, collective=generation.tensor_parallel_size > 1)


def seed_anew(trainer: GDROTrainer) -> None:
    """Put the run's seed back in force: a vLLM in the process sets all random generators to its
    own, which TRL makes the number of the process. Processes that share a model draw alike."""
    args = trainer.args
    if args.vllm_mode == "colocate":
        set_seed(args.seed + trainer.accelerator.process_index // args.vllm_tensor_parallel_size)


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Turn what vLLM or TRL's client raises into a GenerationError that begins with `what`."""
    try:
        yield
    except GDROError:
        raise
    except REFUSALS as error:
        raise GenerationError(f"{what}: {_reason(error)}") from error
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise GenerationError(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _parameters(options: SamplingOptions) -> dict[str, Any]:
    """Sampling options in vLLM's words."""
    return {
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
        "min_p": options.min_p or 0.0,
        "repetition_penalty": 1.0,  # else the server takes that of the model's generation config
        "max_tokens": options.max_new_tokens,
        "stop_token_ids": list(options.eos_ids),
    }


def _all_of(count: int, made: list[list[int]]) -> list[list[int]]:
    if len(made) != count:
        raise GenerationError(f"vLLM gave {len(made)} completions of a prompt, not {count}")
    return made
