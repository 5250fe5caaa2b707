"""`gdro train`'s two doors: start a run, or go on with one from its newest whole checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from accelerate import PartialState

from gdro.config import TrainConfig, controller_of, load_config
from gdro.config.source import ABSENT, Source
from gdro.core.errors import RunError
from gdro.io import flat
from gdro.runs import checkpoints, vllm
from gdro.runs.folder import RunFolder, check_free, held, new_folder, old_folder
from gdro.runs.hub import check_hub
from gdro.runs.prepare import prepare
from gdro.runs.processes import join_processes
from gdro.runs.progress import Progress
from gdro.runs.record import read_events, start_of
from gdro.runs.run import Run, ended
from gdro.runs.trainer_args import check_lora, check_trainer
from gdro.verify import Verifier

MAY_CHANGE = (
    *("output_dir", "run_name", "max_steps", "save_", "report_to", "push_to_hub", "hub_model_id"),
    *("per_device_train_batch_size", "gradient_checkpointing", "generation.vllm_"),
    *("generation.rows", "evaluation.rows"),
    *("verifier.workers", "verifier.timeout", "verifier.memory_mb"),
)
"""Settings, by how they begin, that may be others when a run goes on: where it lies and what is
told, how often it is saved, and what the machine has room and time for."""


def train(config: TrainConfig, *, live: bool | None = None) -> RunFolder:
    """Start a run.

    Raises:
        RunError, DataError, GoldError: what stands in the way, found before training where it can
            be.
    """
    join_processes()
    if PartialState().num_processes > 1 and config.output_dir is None:
        raise RunError("with several processes the folder must be named: --set output_dir=DIR")
    progress = Progress(config.max_steps, live=live)
    checks = (partial(check_free, config.output_dir), partial(check_hub, config))
    prompts, policy, verifier = prepare(
        config,
        progress,
        *(checks if PartialState().is_main_process else ()),
        partial(check_trainer, config),
        partial(vllm.check_vllm, config, progress.note),
    )
    config = config.for_model(policy.context)
    with _closing(verifier, progress):
        check_lora(config, policy.model)
        folder = _shared_folder(config)
        with _held(folder), checkpoints.guarded(folder.path):
            if PartialState().is_main_process:
                folder.write_config(config.to_yaml())
                progress.note(f"run: {folder.path}")
            return Run(config, folder, prompts, policy, verifier, progress).go(None)


def resume(
    path: str | Path, max_steps: int | None = None, *, live: bool | None = None
) -> RunFolder:
    """Continue a run from its newest whole checkpoint, as if it had never stopped.

    Args:
        path: the run's folder.
        max_steps: more steps than the run has, to extend it; its learning rate then follows the
            schedule of so many.

    Raises:
        RunError: the folder holds no run, or the run is finished, or no checkpoint can be used, or
            the settings or the data are other ones than the run began with, or it has more steps
            already, or a controller that is tuned for its number.
    """
    join_processes()
    folder = old_folder(path)
    config = load_config(folder.config)
    _check_settings(config, folder)
    if max_steps is not None:
        config = _extended(config, max_steps, folder)
    progress = Progress(config.max_steps, live=live)
    with _held(folder), checkpoints.guarded(folder.path):
        newest = _newest(folder, config, progress)
        prompts, policy, verifier = prepare(
            config,
            progress,
            partial(check_trainer, config),
            partial(vllm.check_vllm, config, progress.note),
        )
        config = config.for_model(policy.context)
        with _closing(verifier, progress):
            return Run(config, folder, prompts, policy, verifier, progress).go(newest)


def _may_change(key: str) -> bool:
    # of data it is the prompts that count, and they are compared themselves
    of_prompts = key.startswith("data.") and not key.startswith("data.chat_template_kwargs")
    return of_prompts or key.startswith(MAY_CHANGE)


def _check_settings(config: TrainConfig, folder: RunFolder) -> None:
    """The settings are those that the run began with: others would be taken by halves, those of
    the optimiser from the checkpoint and the rest from the file."""
    if (start := start_of(folder.record)) is None:
        return
    then, now = Source(start.get("config", {})), Source(config.model_dump(mode="json"))
    found = flat(now.values)
    changed = [
        key
        for key, value in flat(then.values).items()
        if not _may_change(key) and found.get(key, ABSENT) != value
    ]
    if changed:
        told = ", ".join(
            f"{key} = {'nothing' if (value := now.value(key)) is ABSENT else json.dumps(value)}"
            f" ({json.dumps(then.value(key))} then)"
            for key in changed
        )
        raise RunError(
            f"{folder.config}: settings are not those that the run began with: {told}. Put them"
            " back to go on, or start a new run"
        )


def _extended(config: TrainConfig, max_steps: int, folder: RunFolder) -> TrainConfig:
    if config.generation.rounds_within_budget:
        raise RunError(
            "generation.rounds_within_budget: such a run ends with its budget and cannot be"
            " extended"
        )
    if max_steps < config.max_steps:
        raise RunError(
            f"{folder.path} has {config.max_steps} steps; --set max_steps={max_steps} can only"
            " extend it"
        )
    longer = config.model_copy(update={"max_steps": max_steps})
    if controller_of(longer).options() != controller_of(config).options():
        raise RunError(
            f"{folder.path}: its controller {config.controller.name!r} is tuned for a run of"
            f" {config.max_steps} steps (the option horizon) and cannot go on beyond them; start a"
            " new run"
        )
    return longer


def _finished(folder: RunFolder) -> bool:
    """Whether nothing is left to do; an extended run that has not come to its end still has the
    report and the model of the earlier one."""
    events = read_events(folder.record)
    ended_last = bool(events) and events[-1]["event"] == "end"
    return ended_last and folder.report.is_file() and folder.model.is_dir()


def _newest(folder: RunFolder, config: TrainConfig, progress: Progress) -> Path | None:
    """The checkpoint to go on from; the same on every process."""
    if _finished(folder):
        last = next(iter(checkpoints.all_checkpoints(folder.checkpoints)), None)
        if last is None:
            raise RunError(
                f"{folder.path} is finished, and no checkpoint is left to go on from; train its"
                f" model further in a new run: --set model={folder.model}"
            )
        if ended(config, last):
            raise RunError(
                f"{folder.path} is finished; its report is {folder.report}. Train it further with: "
                f"gdro train --resume {folder.path} --set max_steps=N"
            )
    if PartialState().is_main_process:
        found = checkpoints.newest_whole(folder.checkpoints, progress.note)
    PartialState().wait_for_everyone()
    if not PartialState().is_main_process:
        found = checkpoints.newest_whole(folder.checkpoints, lambda text: None)
    progress.note(f"resuming {folder.path} from {'the start' if found is None else found.name}")
    return found


def _shared_folder(config: TrainConfig) -> RunFolder:
    """The run's folder, made by the main process."""
    if PartialState().is_main_process:
        folder = new_folder(config.output_dir, config.run_name)
    PartialState().wait_for_everyone()
    return folder if PartialState().is_main_process else RunFolder(Path(str(config.output_dir)))


def _held(folder: RunFolder) -> AbstractContextManager[None]:
    return held(folder) if PartialState().is_main_process else nullcontext()


@contextmanager
def _closing(verifier: Verifier, progress: Progress) -> Iterator[None]:
    try:
        yield
    finally:
        progress.close()
        verifier.close()
