"""Held-out evaluation: mean@k and pass@k with intervals, overall, by difficulty tier, by source,
and the worst tier.

Difficulty tiers (`bin` in the record) are ten equal steps of the base model's mean@k, fixed for the
whole run, so that a tier holds the same prompts before and after. They are none of the controller's
bins, which move with training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gdro.config import TrainConfig
from gdro.core.difficulty import bin_edges, bins_at
from gdro.core.passk import Interval, bootstrap, by_group, mean_at_k, pass_at_k
from gdro.core.types import Bools, Ints
from gdro.data.prompts import Prompt
from gdro.engines.trl.evaluation import sample
from gdro.engines.trl.generation import SamplingOptions
from gdro.engines.trl.vllm import Engine, request_seeds, telling
from gdro.report.completions import Completion, Shown, shorten
from gdro.report.read import read_evaluation
from gdro.runs.policy import Policy
from gdro.verify import Outcome, Verifier

BINS = 10


@dataclass(frozen=True)
class Evaluation:
    """How often each of M held-out prompts was answered correctly in n samples.

    Attributes:
        prompts: the prompts.
        correct: (M,) correct samples.
        samples: n, the k of pass@k and mean@k.
        seconds: what it took.
        shown: completions of each prompt for the report; none of an evaluation read from disk.
    """

    prompts: Sequence[Prompt]
    correct: Ints
    samples: int
    seconds: float = field(compare=False)
    shown: tuple[Shown, ...] = field(default=(), compare=False)

    def save(self, path: Path) -> None:
        """One line a prompt: id, source, correct, samples."""
        path.parent.mkdir(exist_ok=True)
        lines = (
            json.dumps({"id": p.id, "source": p.source, "correct": int(c), "samples": self.samples})
            for p, c in zip(self.prompts, self.correct, strict=True)
        )
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def evaluate(
    policy: Policy,
    prompts: Sequence[Prompt],
    verifier: Verifier,
    config: TrainConfig,
    tell: Callable[[str], None] = lambda text: None,
    engine: Engine | None = None,
) -> Evaluation:
    """Sample and score `evaluation.num_generations` completions of every prompt.

    Args:
        engine: a vLLM with the policy's weights; None is the policy's model itself, in the
            arithmetic of training.
    """
    started = time.perf_counter()
    tokenizer, k = policy.tokenizer, config.evaluation.num_generations
    tell(f"evaluating {len(prompts)} held-out prompts x {k} samples")
    tokens, ends = draw(policy, prompts, config, engine), _options(policy, config).eos_ids
    texts = [tokenizer.decode(row, skip_special_tokens=True) for rows in tokens for row in rows]
    outcomes = verifier.judge([prompt for prompt in prompts for _ in range(k)], texts)
    right = np.array([outcome.score >= config.correct_threshold for outcome in outcomes])
    ended = [bool(row) and row[-1] in ends for rows in tokens for row in rows]
    samples = Samples(texts, outcomes, right.reshape(len(prompts), k), ended)
    return Evaluation(
        prompts,
        samples.right.sum(axis=1),
        k,
        time.perf_counter() - started,
        samples.shown(prompts, verifier),
    )


def draw(
    policy: Policy, prompts: Sequence[Prompt], config: TrainConfig, engine: Engine | None
) -> list[list[list[int]]]:
    """The completions of an evaluation as token ids, prompt by prompt; arguments as `evaluate`.

    Raises:
        GenerationError: vLLM does not answer.
    """
    options, k = _options(policy, config), config.evaluation.num_generations
    encoded = [policy.encode(prompt) for prompt in prompts]
    if engine is not None:
        seeds = request_seeds([prompt.id for prompt in prompts], config.seed)
        with telling("vLLM does not evaluate"):
            return engine(encoded, k, options, seeds)
    half = torch.autocast(
        policy.model.device.type, torch.bfloat16, enabled=config.dtype == "bfloat16"
    )
    rows = config.evaluation.rows
    with half:  # around all of it: weights are converted once, not once a token
        return sample(policy.model, encoded, k, options, seed=config.seed, rows_per_batch=rows)


def event(evaluation: Evaluation, base: Evaluation) -> dict[str, Any]:
    """The fields of an `evaluation` event; `base` is the evaluation before training, which sets the
    difficulty tiers."""
    k = evaluation.samples
    mean, passed = mean_at_k(k, evaluation.correct), pass_at_k(k, evaluation.correct, k)
    base_mean = mean_at_k(base.samples, base.correct)
    base_passed = pass_at_k(base.samples, base.correct, base.samples)
    bins = bins_at(bin_edges(BINS), base_mean).tolist()
    groups = [prompt.source for prompt in evaluation.prompts]
    bins_in_order = sorted(by_group(mean, bins).items(), key=lambda item: int(str(item[0])))
    rows = [
        {
            "bin": b,
            "prompts": interval.prompts,
            "mean_at_k": as_json(interval),
            "pass_at_k": as_json(by_group(passed, bins)[b]),
        }
        for b, interval in bins_in_order
    ]
    sources = by_group(mean, groups)
    passes = by_group(passed, groups)
    return {
        "k": k,
        "samples": k,
        "prompts": len(evaluation.prompts),
        "mean_at_k": as_json(bootstrap(mean)),
        "pass_at_k": as_json(bootstrap(passed)),
        "by_bin": rows,
        "by_source": {
            str(name): {
                "prompts": sources[name].prompts,
                "mean_at_k": as_json(sources[name]),
                "pass_at_k": as_json(passes[name]),
            }
            for name in sorted(sources, key=str)
        },
        "worst_bin": rows[int(np.argmin([interval.value for _, interval in bins_in_order]))],
        "change": {
            "mean_at_k": as_json(bootstrap(mean - base_mean)),
            "pass_at_k": as_json(bootstrap(passed - base_passed)),
        },
        "seconds": round(evaluation.seconds, 3),
    }


def load_evaluation(path: Path, prompts: Sequence[Prompt]) -> Evaluation:
    """Read what `Evaluation.save` wrote, for the prompts given.

    Raises:
        RecordError: the file is missing or damaged.
    """
    ids, right, samples = read_evaluation(path)
    correct = dict(zip(ids, right, strict=True))
    return Evaluation(prompts, np.array([correct[p.id] for p in prompts]), samples, 0.0)


def as_json(interval: Interval) -> dict[str, float]:
    """`value`, `low` and `high` to six decimals, as records and figures have them."""
    fields = asdict(interval)
    return {name: round(fields[name], 6) for name in ("value", "low", "high")}


def _options(policy: Policy, config: TrainConfig) -> SamplingOptions:
    tokenizer, settings = policy.tokenizer, config.evaluation
    return SamplingOptions(
        config.lengths.completion,
        policy.end_tokens,
        tokenizer.pad_token_id,
        settings.temperature,
        settings.top_k,
        settings.top_p,
    )


@dataclass(frozen=True)
class Samples:
    """The n completions of each of M prompts, judged.

    Attributes:
        texts: M n completions, those of a prompt together.
        outcomes: of each.
        right: (M, n) whether it counts as correct.
        ended: whether each ended by itself, rather than at the limit.
    """

    texts: Sequence[str]
    outcomes: Sequence[Outcome]
    right: Bools
    ended: Sequence[bool]

    def shown(self, prompts: Sequence[Prompt], verifier: Verifier) -> tuple[Shown, ...]:
        """Of each prompt the first right and the first wrong completion, with the answer read."""
        return tuple(self._of(place, prompt, verifier) for place, prompt in enumerate(prompts))

    def _of(self, place: int, prompt: Prompt, verifier: Verifier) -> Shown:
        right = self.right[place].tolist()
        samples = len(right)
        kept = sorted(right.index(kind) for kind in (True, False) if kind in right)
        return Shown(
            prompt.id,
            shorten(_question(prompt)),
            shorten(prompt.answer),
            sum(right),
            samples,
            tuple(self._completion(place * samples + at, right[at], verifier) for at in kept),
        )

    def _completion(self, at: int, right: bool, verifier: Verifier) -> Completion:
        text, outcome = self.texts[at], self.outcomes[at]
        answer = verifier.answer(text)
        return Completion(
            shorten(text),
            outcome.score,
            right,
            outcome.cause,
            None if answer is None else shorten(answer.text),
            self.ended[at],
        )


def _question(prompt: Prompt) -> str:
    """What the model is asked: the text, or the turns of a chat."""
    if isinstance(prompt.messages, str):
        return prompt.messages
    if len(prompt.messages) == 1:
        return prompt.messages[0]["content"]
    return "\n".join(f"[{turn['role']}] {turn['content']}" for turn in prompt.messages)
