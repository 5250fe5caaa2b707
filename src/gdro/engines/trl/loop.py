"""The trainer's callback."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer


class Loop(TrainerCallback):  # type: ignore[misc]
    """Starts the sampler's epoch, times whole steps, ends a run whose rollouts are spent.

    Holds nothing that a checkpoint would need.
    """

    def __init__(self, trainer: GDROTrainer) -> None:
        self.trainer = trainer
        self.began = 0.0

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the epoch's data loader is iterated."""
        self.trainer.start_epoch()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the first pass of a step."""
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the optimizer."""
        self.trainer.stopwatch.add("step", time.perf_counter() - self.began)
        if self.trainer.rounds is not None:
            self.trainer.rounds.stop_when_spent(control)
