"""CPU seconds of a step and of its update under every objective: the same recipe, model, prompts,
verifier and seed.

    make objectives-cost                                                    # the tiny model
    python benchmarks/objectives_cost.py --recipe smollm2 --steps 2 --rounds 1 --shapes 1
    python benchmarks/objectives_cost.py --set num_generations=8 --objectives grpo "dppo, prune .5"

The step is the recipe's as `gdro train` makes it (prompts, rollouts, number format), with
controller `uniform` but for the lines of `live_gdro` and a learning rate of 1e-6, so that all
objectives see nearly the same completions. The first step of each round is left out. Times are of
this process's CPU (`process_time`), since a neighbour slows wall time; the verifier works in other
processes. `1 micro-batches`: the whole step is one; `4 micro-batches`: it is split, and a
group loss compares first. Dead: share of rollouts whose group has no advantage; trained: share that
has a gradient, where the objective counts it. DPPO prunes from the first step to the last here.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_callback import PrinterCallback

from gdro.config import TrainConfig, controller_of, load_config
from gdro.engines.trl import GDROTrainer
from gdro.runs.folder import RunFolder
from gdro.runs.prepare import prepare
from gdro.runs.progress import Progress
from gdro.runs.rewards import VerifierReward
from gdro.runs.trainer_args import trainer_args, training_set

OWN_BASELINE = "controller={name: live_gdro, baseline: posterior}"
PRUNED = "objective={name: dppo, prune: 0.5, unpruned_share: 0.0}"
OBJECTIVES: dict[str, tuple[str, ...]] = {
    "grpo": (),
    "dppo, prune .5": (PRUNED,),
    "pps, prune .5": ("objective={name: pps, prune: 0.5}",),
    "cppo, prune .5": ("objective={name: cppo, prune: 0.5}",),
    "dagrpo": ("objective=dagrpo",),
    "disco": ("objective=disco",),
    "disco, Lratio": ("objective={name: disco, score: Lratio}",),
    "direct_reward": ("objective=direct_reward",),
    "live_gdro": (OWN_BASELINE,),
    "live_gdro, dppo .5": (OWN_BASELINE, PRUNED),
    "live_gdro, pps .5": (OWN_BASELINE, "objective={name: pps, prune: 0.5}"),
    "live_gdro, pps .7": (OWN_BASELINE, "objective={name: pps, prune: 0.7}"),
    "live_gdro, pps of prompts": (OWN_BASELINE, "objective={name: pps, unit: prompt}"),
    "live_gdro, pps of prompts, .7": (
        OWN_BASELINE,
        "objective={name: pps, unit: prompt, prune: 0.7}",
    ),
}
"""Settings of each line. `live_gdro` chooses its prompts, and its baseline gives a gradient to
every rollout: the update that pruning has most to save of."""


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


def settings_of(name: str, options: argparse.Namespace, parts: int) -> TrainConfig:
    """The recipe with an objective, its step in so many micro-batches."""
    chosen = [
        "controller=uniform",
        "learning_rate=1e-6",
        "data.heldout_size=0",
        f"data.size={options.size}",
        f"max_steps={options.steps}",
        f"save_steps={10 * options.steps}",
        *OBJECTIVES[name],
        *options.set,
    ]
    rows = load_config(options.recipe, chosen).step_rollouts // parts
    return load_config(options.recipe, [*chosen, f"per_device_train_batch_size={rows}"])


def train(config: TrainConfig) -> Timed:
    """One run of an objective."""
    prompts, policy, verifier = prepare(config, Progress(config.max_steps, live=False))
    config = config.for_model(policy.context)
    threshold = None if config.verifier.partial_credit else config.correct_threshold
    with tempfile.TemporaryDirectory() as folder:
        trainer = Timed(
            model=policy.model,
            args=trainer_args(config, RunFolder(Path(folder))),
            reward_funcs=VerifierReward(verifier, prompts.train, threshold),
            train_dataset=training_set(prompts.train),
            processing_class=policy.tokenizer,
            controller=controller_of(config),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.steps, trainer.updates, trainer.making = [], [], 0.0
        trainer.train()
    verifier.close()
    return trainer


def measure(options: argparse.Namespace, parts: int) -> None:
    """A line an objective."""
    steps: dict[str, list[float]] = {name: [] for name in options.objectives}
    updates: dict[str, list[float]] = {name: [] for name in options.objectives}
    shares: dict[str, str] = {}
    for _ in range(options.rounds):
        for name in options.objectives:
            run = train(settings_of(name, options, parts))
            steps[name] += run.steps[1:]
            updates[name] += run.updates[1:]
            history = [entry for entry in run.state.log_history if "loss" in entry][1:]
            dead = statistics.mean(entry["frac_reward_zero_std"] for entry in history)
            key = "gdro/objective/rollouts_trained"
            trained = [entry[key] for entry in history if key in entry]
            shares[name] = f"dead {dead:.2f}" + (
                f", trained {statistics.mean(trained):.2f}" if trained else ""
            )
    first = options.objectives[0]
    for name in options.objectives:
        step, update = statistics.median(steps[name]), statistics.median(updates[name])
        of_step, of_update = statistics.median(steps[first]), statistics.median(updates[first])
        print(
            f"{parts} micro-batches  {name:18} step {step:.3f} s ({step / of_step:.2f} x {first}), "
            f"update {update:.3f} s ({update / of_update:.2f} x {first}); {shares[name]}",
            flush=True,
        )


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="default", help="of gdro train")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--size", type=int, default=256, help="prompts of the training set")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6, help="2 or more: the first is left out")
    parser.add_argument(
        "--objectives", nargs="+", default=list(OBJECTIVES), choices=list(OBJECTIVES)
    )
    parser.add_argument(
        "--shapes", nargs="+", type=int, default=[1, 4], help="micro-batches a step"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    for parts in options.shapes:
        measure(options, parts)


if __name__ == "__main__":
    main()
