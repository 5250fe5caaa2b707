"""A trainer whose every completion can be traced: from vLLM's request to the reward, the row of the
batch and the plan."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import AutoTokenizer
from trl_bench import Ragged, config

from gdro.engines.trl import GDROTrainer
from gdro.tiny import base_path

TINY = str(base_path())
TOKENS = 48
"""Positions asked of vLLM: the longest prompt and completion fit."""
Request = tuple[tuple[int, ...], tuple[int, ...], list[float]]
"""Prompt as vLLM had it, completion as vLLM made it, its log-probabilities."""


def sums(count: int = 12) -> Dataset:
    """Prompts of several lengths with ids; two of them have the same text."""
    texts = [f"{i % 7}+{i * i}=" for i in range(count - 1)]
    return Dataset.from_dict(
        {"prompt": [*texts, texts[0]], "id": [f"sum/{i}" for i in range(count)]}
    )


class Traced(GDROTrainer):
    """Keeps, of each generation batch, what vLLM was asked and said, what was rewarded, and what is
    trained on."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        self.requests: list[list[Request]] = []
        self.rewarded: list[list[tuple[str, tuple[int, ...], float]]] = []
        self.batches: list[dict[str, Any]] = []
        super().__init__(*args, **keywords)
        if self.args.vllm_mode == "colocate":
            self._trace_engine(self.vllm_generation.llm)
        else:
            self._trace_client(self.vllm_generation.vllm_client)

    def reward(
        self, prompts: Any, completions: Any, completion_ids: Any, id: Any, **_: Any
    ) -> list[float]:
        """1 for an even number of tokens."""
        values = [float(len(ids) % 2 == 0) for ids in completion_ids]
        tokens = map(tuple, completion_ids)
        self.rewarded.append(list(zip(id, tokens, values, strict=True)))
        return values

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        self.batches.append(output)
        return output

    def _trace_engine(self, llm: Any) -> None:
        real = getattr(llm, "untraced", llm.generate)  # one engine serves many trainers
        llm.untraced = real

        def generate(prompts: Any, **options: Any) -> Any:
            answers = real(prompts, **options)
            self.requests.append(
                [
                    (
                        tuple(answer.prompt_token_ids),
                        tuple(made.token_ids),
                        [next(iter(top.values())).logprob for top in made.logprobs or []],
                    )
                    for answer in answers
                    for made in answer.outputs
                ]
            )
            return answers

        llm.generate = generate

    def _trace_client(self, client: Any) -> None:
        """At the wire: `generate` says of each prompt once what it was."""
        real = client._post

        def post(url: str, **options: Any) -> Any:
            answer = real(url, **options)
            if url.endswith("/v1/completions"):
                self.requests.append(
                    [
                        (
                            tuple(choice["prompt_token_ids"]),
                            tuple(choice["token_ids"]),
                            (choice["logprobs"] or {}).get("token_logprobs", []),
                        )
                        for choice in answer["choices"]
                    ]
                )
            return answer

        client._post = post


def make(folder: Any, trainer: type[Traced] = Traced, **changes: Any) -> Traced:
    """A trainer of the embedded model on 4 prompts x 4 rollouts a step, ragged from the first."""
    controller = changes.pop("controller", None) or Ragged(needs_losses=True)
    settings = {
        "learning_rate": 1e-3,
        "max_steps": 6,
        "use_vllm": True,
        "vllm_max_model_length": TOKENS,
        "model_init_kwargs": {"dtype": "float32"},
    }
    holder: list[Traced] = []

    def reward(**columns: Any) -> list[float]:
        return holder[0].reward(**columns)

    made = trainer(
        model=TINY,
        reward_funcs=reward,
        args=config(folder, **(settings | changes)),
        train_dataset=sums(),
        processing_class=AutoTokenizer.from_pretrained(TINY, padding_side="left"),
        controller=controller,
    )
    holder.append(made)
    return made


def check(trainer: Traced) -> list[tuple[int, ...]]:
    """Every completion belongs to its prompt, its reward, its row and its place in the plan; the
    rollouts of each step."""
    texts = {row["id"]: row["prompt"] for row in sums()}
    tokens = {name: tuple(trainer.processing_class(text).input_ids) for name, text in texts.items()}
    sizes = []
    steps = zip(
        trainer.requests, trainer.rewarded, trainer.batches, trainer.controller.log, strict=True
    )
    for requests, rewarded, batch, (ids, rewards) in steps:
        for (prompt, made, _), (name, rated, _) in zip(requests, rewarded, strict=True):
            assert prompt == tokens[name], f"{name} was given the completion of another prompt"
            assert made == rated
        planned = {name: len(of_prompt) for name, of_prompt in zip(ids, rewards, strict=True)}
        assert Counter(name for name, _, _ in rewarded) == planned
        for name, of_prompt in zip(ids, rewards, strict=True):
            assert of_prompt == [value for row, _, value in rewarded if row == name]
        _check_batch(requests, batch)
        sizes.append(tuple(planned.values()))
    return sizes


def _check_batch(requests: list[Request], batch: dict[str, Any]) -> None:
    """The rows to train on are the requests, with vLLM's log-probabilities and the policy's own."""
    for row, (prompt, made, logps) in enumerate(requests):
        n = len(made)
        assert tuple(batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist()) == prompt
        kept = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        assert tuple(kept.tolist()) == made
        assert np.allclose(batch["sampling_per_token_logps"][row][:n].numpy(), logps, atol=1e-6)
        assert np.allclose(batch["old_per_token_logps"][row][:n].numpy(), logps, atol=2e-4)
