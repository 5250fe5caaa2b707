"""Stock TRL against GDROTrainer with a uniform plan: the same model, prompts, seed and settings,
timed in one run.

    OMP_NUM_THREADS=1 python benchmarks/trl_speed.py [--rounds 3] [--steps 12] [--model DIR]

Each round trains both from the base for `--steps` steps, one after the other, on 64 prompts x 4
rollouts of the default mixture. The fast sampler draws the random numbers that stock generation
draws, so both see the same completions: the losses are compared step by step, with nothing
injected. Left out: the start of a run and the first step of each round. Times are of this process's
CPU (`process_time`), since a neighbour on the machine slows wall time; both are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from gdro.data.reasoning_gym import load_mixture, score
from gdro.engines.trl import GDROConfig, GDROTrainer
from gdro.tiny import base_path
from gdro.tiny.mixture import DEFAULT_MIXTURE

VARIANTS: dict[str, dict[str, Any]] = {
    "stock": {},
    "gdro, TRL's generation, all rows": {
        "fast_generation": False,
        "drop_dead_rows": False,
        "shared_prefix": False,
    },
    "gdro, TRL's generation": {"fast_generation": False},
    "gdro, prompts read for every rollout": {"shared_prefix": False},
    "gdro, all rows": {"drop_dead_rows": False},
    "gdro": {},
}


@dataclass
class Trace:
    """What one variant did: seconds of each step after the first of a round, losses and dead
    shares."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    dead: list[float] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)


class Clock(TrainerCallback):
    """Seconds between the ends of steps."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.last: tuple[float, float] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now = (time.process_time(), time.perf_counter())
        if self.last is not None:
            self.trace.cpu.append(now[0] - self.last[0])
            self.trace.wall.append(now[1] - self.last[1])
        self.last = now

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" in logs:
            self.trace.losses.append(logs["loss"])
            self.trace.dead.append(logs["frac_reward_zero_std"])
            self.trace.lengths.append(logs["completions/mean_length"])


def train(
    name: str, model_path: Path, prompts: Dataset, reward: Any, steps: int, trace: Trace
) -> None:
    """One round of one variant."""
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 256,
        "num_generations": 4,
        "max_completion_length": 32,
        "learning_rate": 1e-4,
        "max_steps": steps,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "seed": 0,
    }
    with tempfile.TemporaryDirectory() as folder:
        stock = name == "stock"
        config = (
            GRPOConfig(folder, **settings)
            if stock
            else GDROConfig(folder, controller="uniform", **settings, **VARIANTS[name])
        )
        trainer = (GRPOTrainer if stock else GDROTrainer)(
            model=AutoModelForCausalLM.from_pretrained(model_path),
            processing_class=AutoTokenizer.from_pretrained(model_path, padding_side="left"),
            reward_funcs=reward,
            args=config,
            train_dataset=prompts,
            callbacks=[Clock(trace)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def main() -> None:
    """Run, print a table and, with --json, write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--model", type=Path, default=base_path())
    parser.add_argument(
        "--all", action="store_true", help="also the variants with one speed-up switched off"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks = {prompt.id: prompt for prompt in load_mixture(DEFAULT_MIXTURE, 1024, seed=0)}
    prompts = Dataset.from_list(
        [{"id": task.id, "prompt": task.messages} for task in tasks.values()]
    )

    def reward(completions: list[Any], id: list[str], **_: Any) -> list[float]:
        texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
        return [score(tasks[name], text) for name, text in zip(id, texts, strict=True)]

    names = list(VARIANTS) if options.all else ["stock", "gdro"]
    traces = {name: Trace() for name in names}
    for _ in range(options.rounds):
        for name in names:
            train(name, options.model, prompts, reward, options.steps, traces[name])
    stock = traces["stock"]
    print(
        f"dead groups {statistics.mean(stock.dead):.0%}, completions of"
        f" {statistics.mean(stock.lengths):.1f} tokens, {options.rounds} rounds of {options.steps}"
        " steps"
    )
    table = {}
    for name, trace in traces.items():
        gap = max(
            abs(mine - theirs) for mine, theirs in zip(trace.losses, stock.losses, strict=True)
        )
        row = {
            "cpu_s": statistics.median(trace.cpu),
            "wall_s": statistics.median(trace.wall),
            "speedup_cpu": statistics.median(stock.cpu) / statistics.median(trace.cpu),
            "speedup_wall": statistics.median(stock.wall) / statistics.median(trace.wall),
            "largest_loss_gap": gap,
        }
        table[name] = row
        print(
            f"{name:34} {row['cpu_s']:.3f} s CPU {row['wall_s']:.3f} s wall a step (median)  "
            f" {row['speedup_cpu']:.2f}x CPU {row['speedup_wall']:.2f}x wall   largest loss gap"
            f" {gap:.1e}"
        )
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
