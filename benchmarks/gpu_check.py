"""One script for one GPU: does gdro train right there, what does a step cost beside stock TRL?

    make gpu-check   # on a machine with a GPU: at most 8 minutes, writes runs/gpu-check.json
    python benchmarks/gpu_check.py --rehearse   # the same stages on a CPU: tiny model, few steps

Stages, each with its seconds; one that the budget leaves no time for is recorded as left out:

1. `compare`: stock GRPOTrainer, GDROTrainer with TRL's generation, GDROTrainer; uniform plan, same
   seed, data and settings, in bfloat16. Losses step by step, seconds by phase, tokens a second,
   memory. The samplers draw the same random numbers, so the completions are the same until rounding
   parts them; the first step at which their lengths differ is recorded.
2. `resume`: a run of live_gdro, and one that stops half-way and goes on: equal weights, bit for
   bit.
3. `recipe`: a few steps of `gdro train`, the command itself.

It downloads nothing; `make gpu-pack` brings wheels and weights for a machine without network. Left
out: a static cache and CUDA graphs (the fast sampler has neither), several GPUs, vLLM.

As of this commit it has been rehearsed on a CPU only: no figure from a GPU is published.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from gdro.data.prompts import Prompt
from gdro.data.reasoning_gym import load_mixture, score
from gdro.engines.trl import GDROConfig, GDROTrainer
from gdro.io import to_json, write_atomic
from gdro.models.locate import locate
from gdro.runs.machine import machine
from gdro.tiny.mixture import DEFAULT_MIXTURE

BUDGET = 480.0
"""Seconds in all; a stage does not start where less is left than it took as a share below."""
VARIANTS: dict[str, dict[str, Any] | None] = {
    "stock": None,
    "gdro, TRL's generation": {"fast_generation": False},
    "gdro": {},
}


@dataclass(frozen=True)
class Size:
    """How much is trained of a model."""

    model: str
    prompts: int
    completion: int
    steps: int
    least: float
    """Seconds that must be left for the stage to start."""


FULL = (Size("tiny", 64, 32, 8, 60.0), Size("smollm2", 16, 128, 8, 150.0))
SMALL = (Size("tiny", 8, 16, 3, 0.0),)
ROLLOUTS = 4


@dataclass
class Trace:
    """What a variant did, step by step."""

    losses: list[float] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    generate: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Medians over the steps after the first, and rates."""
        middle = {name: _median(getattr(self, name)[1:]) for name in ("step", "generate", "score")}
        seconds = sum(self.generate[1:])
        return {
            "seconds": middle | {"update": middle["step"] - middle["generate"] - middle["score"]},
            "tokens_per_second_generating": sum(self.tokens[1:]) / seconds if seconds else None,
            "tokens_per_second": sum(self.tokens[1:]) / sum(self.step[1:]),
        }


class Clock(TrainerCallback):  # type: ignore[misc]
    """Times steps and, around the trainer's methods, their phases; waits for the device."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.phases, self.began = trace, {"generate": 0.0, "score": 0.0}, 0.0

    def watch(self, trainer: GRPOTrainer) -> None:
        """Time generation and rewards of a trainer, stock or not, in the same way."""
        for phase, name in (("generate", "_generate"), ("score", "_calculate_rewards")):
            setattr(trainer, name, self._timed(phase, getattr(trainer, name)))

    def _timed(self, phase: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = now()
            answer = method(*args, **kwargs)
            self.phases[phase] += now() - began
            return answer

        return timed

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began, self.phases = now(), dict.fromkeys(self.phases, 0.0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trace.step.append(now() - self.began)
        self.trace.generate.append(self.phases["generate"])
        self.trace.score.append(self.phases["score"])

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" in logs:
            rows = args.generation_batch_size
            self.trace.losses.append(logs["loss"])
            self.trace.rewards.append(logs["reward"])
            self.trace.tokens.append(logs["completions/mean_length"] * rows)


def now() -> float:
    """Seconds, with the device's queue empty."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@cache
def _prompts() -> dict[str, Prompt]:
    return {prompt.id: prompt for prompt in load_mixture(DEFAULT_MIXTURE, 256, seed=0)}


class Tasks:
    """Prompts of the default mixture, as text or as chats, and their rewards."""

    def __init__(self, chat: bool) -> None:
        self.by_id = _prompts()
        rows = [
            {
                "id": name,
                "prompt": [{"role": "user", "content": task.messages}] if chat else task.messages,
            }
            for name, task in self.by_id.items()
        ]
        self.dataset = Dataset.from_list(rows)

    def reward(self, completions: list[Any], id: list[str], **_: Any) -> list[float]:
        """The task family's own score."""
        texts = [text if isinstance(text, str) else text[0]["content"] for text in completions]
        return [score(self.by_id[name], text) for name, text in zip(id, texts, strict=True)]


def trainer_of(
    size: Size, folder: str, variant: dict[str, Any] | None, clock: Clock | None, **settings: Any
) -> GRPOTrainer:
    """A trainer of one variant; None is stock TRL."""
    path = locate(size.model).path
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    tasks = Tasks(chat=tokenizer.chat_template is not None)
    cuda = torch.cuda.is_available()
    shared: dict[str, Any] = {
        "per_device_train_batch_size": size.prompts * ROLLOUTS,
        "num_generations": ROLLOUTS,
        "max_completion_length": size.completion,
        "learning_rate": 1e-5,
        "max_steps": size.steps,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": not cuda,
        "bf16": True,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "seed": 0,
    } | settings
    options = {"controller": "uniform"} | variant if variant is not None else {}
    kind, config = (GRPOTrainer, GRPOConfig) if variant is None else (GDROTrainer, GDROConfig)
    trainer = kind(
        model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32),
        processing_class=tokenizer,
        reward_funcs=tasks.reward,
        args=config(folder, **shared, **options),
        train_dataset=tasks.dataset,
        callbacks=[] if clock is None else [clock],
    )
    trainer.remove_callback(PrinterCallback)
    if clock is not None:
        clock.watch(trainer)
    return trainer


def compare(size: Size, names: Sequence[str] = tuple(VARIANTS)) -> dict[str, Any]:
    """Stock TRL against GDROTrainer on one model."""
    traces, found = {}, {}
    for name in names:
        variant, path = VARIANTS[name], None
        trace = traces[name] = Trace()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with tempfile.TemporaryDirectory() as folder:
            trainer = trainer_of(size, folder, variant, Clock(trace))
            trainer.train()
            if isinstance(trainer, GDROTrainer):
                path = trainer.why_not_fast()
        del trainer
        found[name] = trace.summary() | {"memory_mb": memory_mb(), "steps": asdict(trace)}
        if path is not None and variant == {}:
            found[name]["not_fast_because"] = path
    stock = traces["stock"]
    for name, trace in traces.items():
        gaps = [abs(a - b) for a, b in zip(trace.losses, stock.losses, strict=True)]
        same = [a == b for a, b in zip(trace.tokens, stock.tokens, strict=True)]
        found[name] |= {
            "largest_loss_gap": max(gaps),
            "first_step_with_other_lengths": None if all(same) else same.index(False) + 1,
            "speedup": _median(stock.step[1:]) / _median(trace.step[1:]),
        }
    return {"settings": asdict(size) | {"rollouts": ROLLOUTS}, "variants": found}


def memory_mb() -> float:
    """Peak: of the device since it was reset, or of this process."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def exact_resume(size: Size) -> dict[str, Any]:
    """Four steps without a stop, and two and two: digests of the weights."""

    def weights(folder: str, stop: bool) -> str:
        trainer = trainer_of(
            size,
            folder,
            {"controller": "live_gdro"},
            None,
            max_steps=4,
            save_strategy="steps",
            save_steps=2,
        )
        trainer.train(resume_from_checkpoint=f"{folder}/checkpoint-2" if stop else None)
        digest = hashlib.sha256()
        for name, tensor in sorted(trainer.model.state_dict().items()):
            digest.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()

    with tempfile.TemporaryDirectory() as folder:
        whole = weights(folder, stop=False)
        resumed = weights(folder, stop=True)
    return {"equal": whole == resumed, "sha256": whole, "resumed_sha256": resumed}


def recipe(size: Size) -> dict[str, Any]:
    """A few steps of the command itself, with the recipe of the model."""
    name = "smollm2" if size.model == "smollm2" else "default"
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "run"
        small = [
            *("max_steps=3", "eval_steps=null", "data.size=512", "dtype=bfloat16"),
            *("data.heldout_size=26", "evaluation.num_generations=2", f"output_dir={folder}"),
        ]
        words = [word for setting in small for word in ("--set", setting)]
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "gdro", "train", name, *words],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"gdro train {name} ended with {done.returncode}:\n{done.stderr}")
        events = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    steps = [event for event in events if event["event"] == "step"]
    return {
        "recipe": name,
        "seconds": round(seconds, 1),
        "losses": [event["loss"] for event in steps],
        "step_seconds": [event["seconds"] for event in steps],
    }


def check(sizes: Sequence[Size], budget: float) -> dict[str, Any]:
    """Every stage that the budget leaves time for."""
    began, stages, left_out = time.perf_counter(), {}, []
    plan: list[tuple[str, float, Callable[[], dict[str, Any]]]] = []
    for size in sizes:
        plan.append((f"compare {size.model}", size.least, lambda size=size: compare(size)))
    last = sizes[-1]
    plan.append((f"resume {last.model}", last.least / 3, lambda: exact_resume(last)))
    plan.append((f"recipe {last.model}", last.least / 3, lambda: recipe(last)))
    for name, least, stage in plan:
        left = budget - (time.perf_counter() - began)
        if left < least:
            left_out.append(f"{name}: {left:.0f} s left, it needs some {least:.0f}")
            continue
        with _told(name):
            start = time.perf_counter()
            stages[name] = stage() | {"stage_seconds": 0.0}
            stages[name]["stage_seconds"] = round(time.perf_counter() - start, 1)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine() | {"cuda": torch.version.cuda},
        "versions": {name: version(name) for name in ("gdro", "torch", "transformers", "trl")},
        "stages": stages,
        "left_out": left_out,
        "seconds": round(time.perf_counter() - began, 1),
    }


def faults(found: dict[str, Any]) -> list[str]:
    """What is wrong, in sentences: a run that does not resume, or one slower than stock TRL."""
    said = list(found["left_out"])
    for name, stage in found["stages"].items():
        if stage.get("equal") is False:
            said.append(f"{name}: the resumed run ends with other weights")
        for variant, row in stage.get("variants", {}).items():
            if row["first_step_with_other_lengths"] is None and row["largest_loss_gap"] > 1e-3:
                gap = row["largest_loss_gap"]
                said.append(f"{name}: {variant}: same completions, losses differ by {gap:.1e}")
            if row["speedup"] < 1.0 and not found["rehearsed"]:
                said.append(f"{name}: {variant} is slower than stock ({row['speedup']:.2f}x)")
    return said


@contextmanager
def _told(name: str) -> Any:
    began = time.perf_counter()
    print(f"{name} ...", file=sys.stderr, flush=True)
    yield
    print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)


def _median(values: Sequence[float]) -> float:
    ranked = sorted(values)
    return ranked[len(ranked) // 2] if ranked else float("nan")


def main(words: Sequence[str] | None = None) -> int:
    """Run the stages, write one JSON, print one line a variant; 1 where something is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, tiny model, few steps")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds (%(default)g)")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu-check.json"))
    chosen = parser.parse_args(words)
    if not chosen.rehearse and not torch.cuda.is_available():
        print("gpu-check: there is no GPU here; --rehearse runs it on a CPU", file=sys.stderr)
        return 2
    os.environ["HF_HUB_OFFLINE"] = "1"
    found = check(SMALL if chosen.rehearse else FULL, chosen.budget)
    found = {"rehearsed": chosen.rehearse} | found
    found["faults"] = faults(found)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(chosen.output, to_json(found, indent=1) + "\n")
    for name, stage in found["stages"].items():
        for variant, row in stage.get("variants", {}).items():
            print(
                f"{name:16} {variant:24} {row['seconds']['step']:.3f} s a step,"
                f" {row['tokens_per_second']:,.0f} tokens/s, {row['speedup']:.2f}x stock, loss gap"
                f" {row['largest_loss_gap']:.1e}, {row['memory_mb']:,.0f} MB"
            )
    print(*(f"WRONG: {fault}" for fault in found["faults"]), sep="\n")
    print(f"{found['seconds']:.0f} s; {chosen.output}")
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
