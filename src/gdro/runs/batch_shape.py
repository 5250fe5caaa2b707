"""How the rollouts of a step split over processes and micro-batches."""

from __future__ import annotations

from gdro.config import TrainConfig
from gdro.runs.errors import RunError


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
