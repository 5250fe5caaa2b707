"""Small models, data and controllers for the tests of the TRL engine."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from gdro.core.types import Feedback, Plan
from gdro.engines.trl import GDROConfig, GDROTrainer

CHARACTERS = "0123456789+=abcdefghijklmnopqrstuvwxyz "


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character."""
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {c: i + 3 for i, c in enumerate(CHARACTERS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
    )


def tiny_model(seed: int = 0, hidden: int = 16, **config: Any) -> Qwen3ForCausalLM:
    """Two layers of Qwen3, from a config."""
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": len(CHARACTERS) + 3,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "tie_word_embeddings": True,
        "max_position_embeddings": 128,
    }
    model = Qwen3ForCausalLM(Qwen3Config(**(sizes | config)))
    model.generation_config.eos_token_id = 1
    model.lm_head.weight.data *= 8.0  # a fresh model is near uniform; this makes some tokens likely
    return model


def sums(count: int = 24) -> Dataset:
    """Prompts of several lengths with ids."""
    prompts = [f"{i % 7}+{i * i}=" for i in range(count)]
    return Dataset.from_dict({"prompt": prompts, "id": [f"sum/{i}" for i in range(count)]})


def has_even_digit(completions: list[str], **_: Any) -> list[float]:
    """1 for a completion whose first character is early in the alphabet or an even digit."""
    return [float(bool(c) and c[0] in "02468abcdefg") for c in completions]


def config(folder: Any, **changes: Any) -> GDROConfig:
    """Settings of a short run on the CPU."""
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 16,
        "num_generations": 4,
        "max_completion_length": 6,
        "learning_rate": 1e-2,
        "max_steps": 4,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "seed": 3,
    }
    return GDROConfig(**(settings | changes))


def train_on_sums(args: GDROConfig, controller: Any, resume: Path | None = None) -> GDROTrainer:
    """The tiny model on eight sums, from the start or from a checkpoint's folder."""
    trainer = GDROTrainer(
        model=tiny_model(),
        reward_funcs=has_even_digit,
        args=args,
        train_dataset=sums(8),
        processing_class=character_tokenizer(),
        controller=controller,
    )
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return trainer


class Ragged:
    """A controller of the tests' own: moves rollouts between prompts and weighs prompts by their id
    and visits."""

    name = "ragged"
    selects = sets_baselines = plans_equally = reads_texts = needs_tokens = False
    pool_factor, min_rollouts, reward_range = 4, 1, (0.0, 1.0)

    def amend(self, plan: Plan, rollouts: Any) -> Plan:
        counts = np.asarray(rollouts)
        kept = np.flatnonzero(counts)
        self.outstanding[self.outstanding.index(plan)] = amended = Plan(
            tuple(plan.prompt_ids[place] for place in kept), counts[kept], plan.bins[kept]
        )
        return amended

    def describe(self, prompt_ids: Any, texts: Any) -> None:
        raise AssertionError("this one reads no texts")

    def observe_tokens(self, prompt_ids: Any, tokens: Any) -> None:
        raise AssertionError("this one asks for no tokens")

    def select(self, candidate_ids: Any, m: int) -> list[str]:
        raise AssertionError("this one does not select")

    def __init__(self, mean_rollouts: int = 4, needs_losses: bool = False) -> None:
        self.mean_rollouts = mean_rollouts
        self.needs_losses = needs_losses
        self.visits: dict[str, int] = {}
        self.losses: list[tuple[tuple[str, ...], np.ndarray[Any, Any]]] = []
        self.outstanding: list[Plan] = []
        self.log: list[tuple[tuple[str, ...], list[list[float]]]] = []

    def plan(self, prompt_ids: Any) -> Plan:
        ids = tuple(prompt_ids)
        rollouts = np.full(len(ids), self.mean_rollouts)
        for i in range(len(ids) // 2):
            shift = (zlib.crc32(ids[i].encode()) + self.visits.get(ids[i], 0)) % self.mean_rollouts
            rollouts[i] -= shift
            rollouts[-1 - i] += shift
        plan = Plan(ids, rollouts, np.zeros(len(ids), dtype=np.int64))
        self.outstanding.append(plan)
        return plan

    def observe(self, prompt_ids: Any, rewards: Any) -> Feedback:
        plan = self.outstanding.pop(0)
        assert tuple(prompt_ids) == plan.prompt_ids
        assert [len(r) for r in rewards] == plan.rollouts.tolist()
        for name in plan.prompt_ids:
            self.visits[name] = self.visits.get(name, 0) + 1
        self.log.append((plan.prompt_ids, [np.asarray(r).tolist() for r in rewards]))
        weights = np.array(
            [0.5 + (zlib.crc32(i.encode()[::-1]) + self.visits[i]) % 5 / 4 for i in plan.prompt_ids]
        )
        return Feedback(plan.prompt_ids, weights, plan.bins)

    def observe_losses(self, prompt_ids: Any, losses: Any) -> None:
        self.losses.append((tuple(prompt_ids), losses))
        self.visits["losses"] = self.visits.get("losses", 0) + 1

    def cancel(self, plan: Plan) -> None:
        self.outstanding.remove(plan)

    def metrics(self) -> dict[str, Any]:
        return {"step": len(self.log), "weight": [1.0, float("nan")], "name": "ragged"}

    def state_dict(self) -> dict[str, Any]:
        return {
            "ids": list(self.visits),
            "visits": np.array(list(self.visits.values()), dtype=np.int64),
        }

    def load_state_dict(self, state: Any) -> None:
        self.visits = dict(zip(state["ids"], np.asarray(state["visits"]).tolist(), strict=True))


class Even(Ragged):
    """Equal groups and weight 1: what stock TRL does."""

    def plan(self, prompt_ids: Any) -> Plan:
        ids = tuple(prompt_ids)
        self.outstanding.append(
            Plan(ids, np.full(len(ids), self.mean_rollouts), np.zeros(len(ids), dtype=np.int64))
        )
        return self.outstanding[-1]

    def observe(self, prompt_ids: Any, rewards: Any) -> Feedback:
        feedback = super().observe(prompt_ids, rewards)
        return Feedback(feedback.prompt_ids, np.ones(len(feedback.prompt_ids)), feedback.bins)
