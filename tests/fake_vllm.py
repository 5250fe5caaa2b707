"""vLLM and TRL's `VLLMGeneration` as far as a trainer sees them, without vLLM: what it is asked for
decides what it says."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from typing import Any

import pytest
import torch

SAY = 3
"""Tokens of a completion: two copies of the prompt's last but one token, and the end."""


def said(prompt: Sequence[int], end: int) -> list[int]:
    """The completion of a prompt."""
    return [prompt[-2], prompt[-2], end]


class FakeLLM:
    """`vllm.LLM`: `generate` with a list of parameters, in the order of the requests."""

    def __init__(self, **options: Any) -> None:
        self.options, self.asked = options, list[Any]()
        self.end = 1

    def generate(self, prompts: Any, sampling_params: Any, use_tqdm: bool) -> list[Any]:
        """Each completion is `said`, then its number and its request's seed."""
        self.asked.append((prompts, sampling_params))
        return [
            types.SimpleNamespace(
                prompt_token_ids=asked["prompt_token_ids"],
                outputs=[  # not in order
                    types.SimpleNamespace(
                        index=index,
                        token_ids=[*said(asked["prompt_token_ids"], self.end)[:2], index, seed],
                    )
                    for index in reversed(range(params["n"]))
                    for seed in [params["seed"] % 100 + 3]
                ],
            )
            for asked, params in zip(prompts, sampling_params, strict=True)
        ]


class FakeGeneration:
    """`trl.generation.VLLMGeneration`.

    A server is asked as TRL asks it: every `num_generations`-th prompt, so many completions each.
    Log-probabilities are the model's own, less `gap`.
    """

    gap = 0.0

    def __init__(self, model: Any, accelerator: Any, processing_class: Any, **options: Any) -> None:
        self.model, self.options = model, options
        self.mode = options["mode"]
        self.tensor_parallel_size = options["tensor_parallel_size"]
        self.end = int(processing_class.eos_token_id)
        self.synced = 0
        self.llm, self.vllm_client = FakeLLM(), types.SimpleNamespace(get_server_info=self._info)
        torch.manual_seed(0)  # as a vLLM in the process does

    def _info(self) -> dict[str, Any]:
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def sync_weights(self) -> None:
        """Count it."""
        self.synced += 1

    def generate(
        self, prompts: Any, images: Any, num_generations: int, profiler: Any = None
    ) -> tuple[Any, ...]:
        """TRL's answer: prompts, completions, log-probabilities, their tokens."""
        n = num_generations if self.mode == "server" else 1
        asked = [prompt for prompt in prompts[::n] for _ in range(n)]
        made = [said(prompt, self.end) for prompt in asked]
        logps = [self._logps(prompt, own) for prompt, own in zip(asked, made, strict=True)]
        return prompts, made, logps, [[[token] for token in own] for own in made]

    @torch.no_grad()
    def _logps(self, prompt: list[int], made: list[int]) -> list[list[float]]:
        training = self.model.training
        logits = self.model.eval()(torch.tensor([prompt + made])).logits[0, len(prompt) - 1 : -1]
        self.model.train(training)
        found = logits.log_softmax(-1).gather(1, torch.tensor(made)[:, None])[:, 0] - self.gap
        return [[value] for value in found.tolist()]


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Both in the place of the real ones; the module `vllm`, whose `LLM.built` are the engines."""
    module = types.ModuleType("vllm")
    module.built = []  # type: ignore[attr-defined]

    def build(**options: Any) -> FakeLLM:
        module.built.append(FakeLLM(**options))  # type: ignore[attr-defined]
        return module.built[-1]  # type: ignore[attr-defined, no-any-return]

    module.LLM, module.SamplingParams = build, dict  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr("trl.trainer.grpo_trainer.VLLMGeneration", FakeGeneration)
    return module
