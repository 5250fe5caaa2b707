"""`generation.backend: vllm` in a run: what must be there, TRL's arguments for it, and an engine
for `gdro evaluate`."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from http.client import HTTPException
from importlib.util import find_spec
from typing import Any
from urllib.request import urlopen

from accelerate import PartialState

from gdro.config import TrainConfig
from gdro.core.errors import RunError
from gdro.engines.compat import GROUP_LOSSES
from gdro.engines.trl.vllm import LocalEngine, telling
from gdro.models.loading import plain_folder

INSTALL = "pip install 'gdro[vllm]'"
SHARE, SHARE_ALONE = 0.3, 0.9
"""Of a GPU's memory: beside training (TRL's default), and in `gdro evaluate` (vLLM's default)."""
WAIT, RETRY, LOOK = 240.0, 2.0, 5.0
"""Seconds that a server has to be up (TRL's default), between two looks at it, and for one look."""
Tell = Callable[[str], None]


def check_installed() -> None:
    """Raises RunError when vLLM is not installed."""
    if find_spec("vllm") is None:
        raise RunError(
            f"generation.backend: vllm is not installed here; {INSTALL}, or take backend: fast"
        )


def check_vllm(config: TrainConfig, tell: Tell = lambda text: None) -> None:
    """Look at all that a run with backend vllm needs beside the model; nothing for another backend.

    Raises:
        RunError: vLLM is not installed, the processes do not divide by the tensor-parallel size, or
            no server answers within WAIT or it takes too few tokens.
    """
    asked = config.generation
    if asked.backend != "vllm":
        return
    check_installed()
    processes, size = PartialState().num_processes, asked.vllm_tensor_parallel_size
    if processes % size:
        raise RunError(
            f"generation.vllm_tensor_parallel_size: {size} processes share a model, and"
            f" {processes} do not divide by it"
        )
    if asked.vllm_mode == "server" and PartialState().is_main_process:
        _check_server(config, tell)


def trl_arguments(config: TrainConfig) -> dict[str, Any]:
    """What TRL's config is told of vLLM; nothing for another backend."""
    asked = config.generation
    if asked.backend != "vllm":
        return {}
    return {
        "use_vllm": True,
        "vllm_mode": asked.vllm_mode,
        "vllm_gpu_memory_utilization": asked.vllm_gpu_memory_utilization or SHARE,
        "vllm_tensor_parallel_size": asked.vllm_tensor_parallel_size,
        "vllm_max_model_length": _tokens(config),
        "vllm_server_base_url": asked.server_url,
        # a loss on groups has no place for it, see docs/growing.md
        "vllm_importance_sampling_correction": config.objective.name not in GROUP_LOSSES,
    }


def own_engine(model: str, config: TrainConfig, tell: Tell = lambda text: None) -> LocalEngine:
    """A vLLM in this process for evaluation alone, in either `vllm_mode`: what a server holds is
    what was trained last, and not `model`.

    Raises:
        RunError: vLLM is not installed.
        GenerationError: it does not start.
    """
    check_installed()
    asked = config.generation
    if asked.vllm_mode == "server":
        tell("vllm_mode server is for training; this evaluates with an engine of its own")
    folder = plain_folder(model, tell)
    with telling(f"vLLM does not start with {model}"):
        llm = importlib.import_module("vllm").LLM(
            model=folder,
            dtype=config.dtype,
            max_model_len=_tokens(config),
            gpu_memory_utilization=asked.vllm_gpu_memory_utilization or SHARE_ALONE,
            tensor_parallel_size=asked.vllm_tensor_parallel_size,
        )
    return LocalEngine(llm)


def summary(config: TrainConfig) -> str:
    """One line for a dry run."""
    asked = config.generation
    here = "installed here" if find_spec("vllm") else f"NOT installed here: {INSTALL}"
    if asked.vllm_mode == "server":
        return f"server at {asked.server_url}, not looked for; {here}"
    size = asked.vllm_tensor_parallel_size
    return f"colocate, {share(config):.0%} of each device, a model over {size}; {here}"


def share(config: TrainConfig) -> float:
    """What vLLM takes of each training device's memory."""
    asked = config.generation
    return (asked.vllm_gpu_memory_utilization or SHARE) if asked.vllm_mode == "colocate" else 0.0


def _tokens(config: TrainConfig) -> int:
    return config.lengths.prompt + config.lengths.completion


def _check_server(config: TrainConfig, tell: Tell) -> None:
    url, until, told = config.generation.server_url, time.monotonic() + WAIT, False
    while True:
        try:
            with urlopen(f"{url}/v1/models", timeout=LOOK) as answer:
                served = json.load(answer)["data"][0]
            break
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            if time.monotonic() >= until:
                raise RunError(
                    f"generation.vllm_server_base_url: no vLLM server answers at {url} within"
                    f" {WAIT:g} s ({error}); docs/growing.md has the command that starts one"
                ) from error
        if not told:
            tell(f"waiting for the vLLM server at {url}, at most {WAIT:g} s")
            told = True
        time.sleep(min(RETRY, max(0.0, until - time.monotonic())))
    limit, wanted = served.get("max_model_len"), _tokens(config)
    given = None not in (config.max_prompt_length, config.max_completion_length)
    if given and limit is not None and limit < wanted:  # else they follow from the model
        raise RunError(
            f"the vLLM server at {url} takes {limit} tokens; max_prompt_length +"
            f" max_completion_length is {wanted}: start it with --max-model-len {wanted}"
        )
