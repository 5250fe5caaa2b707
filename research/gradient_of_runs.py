"""The gradient's variance under each finished run's own plan, against equal rollouts.

    python research/gradient_of_runs.py runs/compare-my/*/seed-*  # runs of gdro train or compare

Measured where the run ended: its trained model, its controller as its last checkpoint has it, one
batch of its size drawn from its training prompts by its seed, its advantage. Both plans spend the
same rollouts on the same prompts. The figures lie beside the run, in RUN.gradients.json; a run that
has them is not measured again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from gdro.config import load_config
from gdro.controllers.making import make_controller
from gdro.core.errors import GDROError
from gdro.io import to_json, write_atomic
from gdro.runs.folder import RunFolder
from gradient_batches import repeat_batches
from gradient_scores import open_setting
from visits import controller_at_end

REPEATS = 16
"""Batches under each of the two plans."""


def measure_runs(runs: Iterable[RunFolder], tell: Callable[[str], None]) -> None:
    """Measure the runs that were not measured yet, one after the other with one thread.

    Raises:
        RunError: a run has no trained model or no whole checkpoint.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for run in runs:
        if not gradients_file(run).is_file():
            ratio = measure_run(run)["variance_ratio"]
            tell(
                f"{run.path}: gradient variance x {ratio['value']:.3f} [{ratio['low']:.3f},"
                f" {ratio['high']:.3f}]"
            )
    torch.set_num_threads(before)


def measure_run(run: RunFolder) -> dict[str, dict[str, float]]:
    """Figures of one run (`Repeats.figures`), also written beside its folder.

    Raises:
        RunError: the run has no trained model or no whole checkpoint.
    """
    config = load_config(run.config)
    controller = controller_at_end(run)
    equal = make_controller("uniform", mean_rollouts=config.num_generations, seed=config.seed)
    kinds = [config.advantage]
    with open_setting(str(run.path), None, [], config.prompts_per_step, config.seed) as setting:
        base, gradients = repeat_batches(setting, equal, kinds, REPEATS, config.seed)
        own, _ = repeat_batches(setting, controller, kinds, REPEATS, config.seed + 1, gradients)
    figures = {name: asdict(value) for name, value in own.figures(0, base, config.seed).items()}
    write_atomic(gradients_file(run), to_json(figures, indent=1) + "\n")
    return figures


def gradients_file(run: RunFolder) -> Path:
    """Where the figures of a run lie."""
    return run.path.with_name(f"{run.path.name}.gradients.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 2 when a run cannot be measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    chosen = parser.parse_args(arguments)
    try:
        measure_runs([RunFolder(path) for path in chosen.runs if path.is_dir()], print)
    except GDROError as error:
        print(f"gradient_of_runs: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
