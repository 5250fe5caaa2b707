"""CPU seconds of a step and of its update under every objective, on the same model, prompts and
settings.

    OMP_NUM_THREADS=1 python benchmarks/objectives_cost.py [--rounds 2] [--steps 6] [--model DIR]

64 prompts x 4 rollouts (--prompts, --rollouts) of the default mixture a step, controller `uniform`,
learning rate 1e-6, so that all objectives see nearly the same completions. The first step of each
round is left out. Times are of this process's CPU (`process_time`), since a neighbour on the
machine slows wall time. `one pass`: the whole step is one micro-batch; `4 micro-batches`: it is
split, and a group loss compares first. Dead: share of rollouts without an advantage; trained: share
that has a gradient.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.trainer_callback import PrinterCallback

from gdro.data.reasoning_gym import load_mixture, score
from gdro.engines.trl import GDROConfig, GDROTrainer
from gdro.tiny import base_path
from gdro.tiny.mixture import DEFAULT_MIXTURE

OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {}),
    "dppo, prune .5": ("dppo", {"prune": 0.5, "unpruned_share": 0.0}),
    "cppo, prune .5": ("cppo", {"prune": 0.5}),
    "disco": ("disco", {}),
    "disco, Lratio": ("disco", {"score": "Lratio"}),
    "direct_reward": ("direct_reward", {}),
}


class Timed(GDROTrainer):
    """Notes CPU seconds of each step, and of its update alone."""

    steps: list[float]
    updates: list[float]
    making: float

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        start = time.process_time()
        output = super()._generate_and_score_completions(inputs)
        self.making = time.process_time() - start
        return output

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        first = self._step % self.generate_every == 0
        start = time.process_time()
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        spent = time.process_time() - start
        if first:
            self.steps.append(0.0)
            self.updates.append(-self.making)
        self.steps[-1] += spent
        self.updates[-1] += spent
        return loss


def train(
    name: str, options: argparse.Namespace, rows: int, prompts: Dataset, reward: Any
) -> Timed:
    """One run of an objective."""
    objective, chosen = OBJECTIVES[name]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Timed(
            model=AutoModelForCausalLM.from_pretrained(options.model),
            processing_class=AutoTokenizer.from_pretrained(options.model, padding_side="left"),
            reward_funcs=reward,
            train_dataset=prompts,
            args=GDROConfig(
                folder,
                controller="uniform",
                objective=objective,
                objective_options=chosen,
                per_device_train_batch_size=rows,
                gradient_accumulation_steps=options.prompts * options.rollouts // rows,
                num_generations=options.rollouts,
                max_completion_length=32,
                learning_rate=1e-6,
                max_steps=options.steps,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                disable_tqdm=True,
                seed=0,
            ),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.steps, trainer.updates, trainer.making = [], [], 0.0
        trainer.train()
    return trainer


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--model", type=Path, default=base_path())
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--rollouts", type=int, default=4)
    parser.add_argument(
        "--objectives", nargs="+", default=list(OBJECTIVES), choices=list(OBJECTIVES)
    )
    parser.add_argument(
        "--shapes", nargs="+", type=int, default=[1, 4], help="micro-batches a step"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks = {prompt.id: prompt for prompt in load_mixture(DEFAULT_MIXTURE, 1024, seed=0)}
    prompts = Dataset.from_list(
        [{"id": task.id, "prompt": task.messages} for task in tasks.values()]
    )

    def reward(completions: list[Any], id: list[str], **_: Any) -> list[float]:
        texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
        return [score(tasks[name], text) for name, text in zip(id, texts, strict=True)]

    for parts in options.shapes:
        rows = options.prompts * options.rollouts // parts
        steps: dict[str, list[float]] = {name: [] for name in options.objectives}
        updates: dict[str, list[float]] = {name: [] for name in options.objectives}
        shares: dict[str, str] = {}
        for _ in range(options.rounds):
            for name in options.objectives:
                run = train(name, options, rows, prompts, reward)
                steps[name] += run.steps[1:]
                updates[name] += run.updates[1:]
                history = [entry for entry in run.state.log_history if "loss" in entry]
                dead = statistics.mean(entry["frac_reward_zero_std"] for entry in history)
                key = "gdro/objective/rollouts_trained"
                trained = [entry[key] for entry in history if key in entry]
                shares[name] = f"dead {dead:.2f}" + (
                    f", trained {statistics.mean(trained):.2f}" if trained else ""
                )
        for name in options.objectives:
            step, update = statistics.median(steps[name]), statistics.median(updates[name])
            first = options.objectives[0]
            ratios = (
                step / statistics.median(steps[first]),
                update / statistics.median(updates[first]),
            )
            print(
                f"{parts} micro-batches  {name:15} step {step:.3f} s ({ratios[0]:.2f} x {first}), "
                f"update {update:.3f} s ({ratios[1]:.2f} x {first}); {shares[name]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
