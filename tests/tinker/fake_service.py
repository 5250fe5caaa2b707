"""The Tinker service as tinker-cookbook's loop sees it, without a network: it samples, records and
"trains".

A prompt is one token, its number; an answer is one token, 1 (right) or 0. Every sample is a
function of the number of optimizer steps done, the prompt and how often it was asked at that step,
so a resumed run samples as the first did.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import tinker


class Done:
    """A future that is done."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def result(self) -> Any:
        return self.value

    def __await__(self) -> Any:
        return self.value
        yield


@dataclass
class Record:
    """What the service was asked: per step the datums, and the answers to each prompt."""

    datums: dict[int, list[tinker.Datum]] = field(default_factory=dict)
    answers: dict[int, dict[int, list[int]]] = field(default_factory=dict)


class Sampling:
    def __init__(self, record: Record, step: int, fails: frozenset[tuple[int, int, int]]) -> None:
        self.record, self.step, self.fails = record, step, fails
        self.asked: Counter[int] = Counter()

    async def sample(
        self, prompt: tinker.ModelInput, num_samples: int, sampling_params: Any
    ) -> Any:
        number = prompt.to_ints()[0]
        turn = self.asked[number]
        self.asked[number] += 1
        if (self.step, number, turn) in self.fails:
            raise RuntimeError("the sandbox crashed")
        right = int(np.random.default_rng([self.step, number, turn]).random() < (number % 10) / 9)
        self.record.answers.setdefault(self.step, {}).setdefault(number, []).append(right)
        one = SimpleNamespace(tokens=[right], logprobs=[-0.5], stop_reason="stop", sequence_id=None)
        return SimpleNamespace(sequences=[one], prompt_cache_hit_tokens=0)


class Training:
    def __init__(self, record: Record, step: int, fails: frozenset[tuple[int, int, int]]) -> None:
        self.record, self.step, self.fails = record, step, fails

    def forward_backward(
        self, data: list[tinker.Datum], loss_fn: str, loss_fn_config: Any = None
    ) -> Done:
        self.record.datums.setdefault(self.step, []).extend(data)
        outputs = [
            {"logprobs": tinker.TensorData.from_torch(torch.full((d.model_input.length,), -0.5))}
            for d in data
        ]
        return Done(SimpleNamespace(loss_fn_outputs=outputs))

    def optim_step(self, parameters: Any) -> Done:
        self.step += 1
        return Done(SimpleNamespace(metrics={}))

    def save_weights_and_get_sampling_client(self, record_stability_info: bool = False) -> Done:
        return Done(Sampling(self.record, self.step, self.fails))

    def create_sampling_client(self, path: str, record_stability_info: bool = False) -> Done:
        return Done(Sampling(self.record, self.step, self.fails))

    def save_state(self, name: str, ttl_seconds: int | None = None) -> Done:
        return Done(SimpleNamespace(path=f"tinker://{self.step}"))

    save_weights_for_sampler = save_state


class Service:
    """Stands where `tinker.ServiceClient` does."""

    def __init__(
        self, record: Record, fails: frozenset[tuple[int, int, int]] = frozenset()
    ) -> None:
        self.record, self.fails = record, fails

    def __call__(self, **_: Any) -> Service:
        return self

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def create_lora_training_client(self, *_: Any, **__: Any) -> Done:
        return Done(Training(self.record, 0, self.fails))

    def create_training_client_from_state_with_optimizer(self, path: str, **_: Any) -> Done:
        return Done(Training(self.record, int(path.removeprefix("tinker://")), self.fails))
