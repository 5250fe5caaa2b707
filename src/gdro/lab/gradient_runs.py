"""`gdro compare RUN --gradients`: the gradient's variance under each finished run's own plan, against equal rollouts.

Measured where the run ended: its trained model, its controller as its last checkpoint has it, one batch of its size
drawn from its training prompts by its seed, its advantage. Both plans spend the same rollouts on the same prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict

import torch

from gdro.controllers.registry import make_controller
from gdro.lab.finished_run import controller_at_end
from gdro.lab.gradient_batches import repeat_batches
from gdro.lab.gradient_record import gradients_file, write_figures
from gdro.lab.gradient_setting import open_setting
from gdro.runs.config import load_config
from gdro.runs.folder import RunFolder

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
            tell(f"{run.path}: gradient variance x {ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]")
    torch.set_num_threads(before)


def measure_run(run: RunFolder) -> dict[str, dict[str, float]]:
    """Figures of one run (`Repeats.figures`), also written beside its folder.

    Raises:
        RunError: the run has no trained model or no whole checkpoint.
    """
    config = load_config(run.config)
    controller = controller_at_end(run)
    equal = make_controller("uniform", mean_rollouts=config.mean_rollouts, seed=config.seed)
    kinds = [config.optimisation.advantage]
    with open_setting(str(run.path), None, [], config.prompts_per_step, config.seed) as setting:
        base, gradients = repeat_batches(setting, equal, kinds, REPEATS, config.seed)
        own, _ = repeat_batches(setting, controller, kinds, REPEATS, config.seed + 1, gradients)
    figures = {name: asdict(value) for name, value in own.figures(0, base, config.seed).items()}
    write_figures(run, figures)
    return figures
