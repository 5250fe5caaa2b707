"""The processes of one launch (torchrun): how they meet, share the rollouts of a step, and part."""

from __future__ import annotations

import gc

import torch
from accelerate import PartialState

from gdro.config import TrainConfig
from gdro.core.errors import RunError


def join_processes() -> None:
    """Meet the other processes of a launch: accelerate does so on a CPU only when told."""
    PartialState(cpu=not torch.cuda.is_available())


def leave_processes() -> None:
    """Part from the other processes of a launch, once each has finished: the last thing that a
    program does.

    A finished trainer is a cycle that holds the process group, and with it gloo's threads, until it
    is collected. A thread that outlives the interpreter can abort the process (exit status 134),
    however well the run went.
    """
    PartialState().wait_for_everyone()
    # After the others are met: a vLLM that is collected ends the process group itself, and does not
    # find its own if that comes first. It has frozen what was there when it was built.
    gc.unfreeze()
    gc.collect()
    PartialState().destroy_process_group()


def batch_shape(config: TrainConfig, processes: int) -> tuple[int, int]:
    """(rows of one pass on one process, passes an update).

    Raises:
        RunError: the rollouts of a step cannot be split evenly.
    """
    total = config.step_rollouts
    if total % processes:
        raise RunError(
            f"prompts_per_step * num_generations = {total} rollouts do not divide over {processes}"
            " processes"
        )
    share = total // processes
    rows = config.per_device_train_batch_size or share
    if share % rows:
        raise RunError(
            f"per_device_train_batch_size={rows} does not divide the {share} rollouts of a step on"
            f" each process; choose a divisor of {share}"
        )
    return rows, share // rows
