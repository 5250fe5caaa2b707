"""What the trainer adds to transformers' loop: the order of prompts with the epoch as an input, its
callback, and which of the logs are printed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from trl.trainer.utils import RepeatSampler

from gdro.engines.trl.batch import Row

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
        self.trainer.checkpoints.start_epoch()
        self.trainer.order.start_epoch()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the first pass of a step."""
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the optimizer."""
        self.trainer.stopwatch.add("step", time.perf_counter() - self.began)
        if self.trainer.rounds is not None:
            self.trainer.rounds.stop_when_spent(control)


class EpochSampler(RepeatSampler):  # type: ignore[misc]
    """TRL's `RepeatSampler` that can start in any epoch.

    Epoch e gets the e-th permutation of the seeded generator: the very order of an uninterrupted
    TRL run. TRL's own sampler replays epoch 0 when a run resumes in a later epoch.
    """

    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of `epoch`."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator.manual_seed(self.seed)
            for _ in range(self.epoch):
                torch.randperm(self.num_samples, generator=self.generator)
        yield from super().__iter__()


class Order:
    """The trainer's rows, and in which order they come."""

    def __init__(self, trainer: GDROTrainer) -> None:
        self.trainer = trainer
        self._sampler: EpochSampler | None = None
        self._indexed: Any = None

    @property
    def prompts_a_batch(self) -> int:
        """Distinct prompts in a generation batch."""
        return int(self.trainer.args.generation_batch_size // self.trainer.num_generations)

    @property
    def steps_an_epoch(self) -> int | None:
        """Optimizer steps in a pass over the training set; None for a stream."""
        trainer = self.trainer
        if not trainer.prompts.can_choose:
            return None
        batches = len(trainer.train_dataset) // self.prompts_a_batch
        passes: int = batches * trainer.generate_every
        return max(1, math.ceil(passes / int(trainer.args.gradient_accumulation_steps)))

    def rows(self, places: Sequence[int]) -> list[Row]:
        """Rows of a training set that can be indexed, with the columns that the loader gives."""
        trainer = self.trainer
        if self._indexed is None:
            self._indexed = trainer.train_dataset
            if trainer.args.remove_unused_columns:
                self._indexed = trainer._remove_unused_columns(
                    trainer.train_dataset, description="training"
                )
        return [self._indexed[place] for place in places]

    def sampler(self, dataset: Any) -> EpochSampler:
        """TRL's, in the order of this trainer's epochs."""
        trainer = self.trainer
        self._sampler = EpochSampler(
            data_source=dataset,
            mini_repeat_count=trainer.num_generations,
            batch_size=self.prompts_a_batch,
            repeat_count=trainer.generate_every,
            shuffle=trainer.shuffle_dataset,
            seed=trainer.args.seed,
        )
        return self._sampler

    def start_epoch(self) -> None:
        """Tell the sampler which epoch the run stands in; at the start of each."""
        if self._sampler is not None and self.steps_an_epoch is not None:
            self._sampler.set_epoch(self.trainer.state.global_step // self.steps_an_epoch)


PREFIX = "gdro/"
KEPT = frozenset(
    PREFIX + name
    for name in (
        "zero_variance_share",
        "any_correct",
        "live_offered",
        "live_predicted",
        "weight_max",
        "skipped_steps",
        "missing_rollouts",
        "seconds/step",
    )
)
"""Of gdro's own keys, those that are printed."""


def few(logs: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """TRL's own keys, and few of gdro's."""
    if logs is None:
        return None
    return {key: value for key, value in logs.items() if not key.startswith(PREFIX) or key in KEPT}


class FewKeysPrinter(PrinterCallback):  # type: ignore[misc]
    """transformers' printer of logs, with few of gdro's keys."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        super().on_log(args, state, control, logs=few(logs), **kwargs)


class FewKeysProgress(ProgressCallback):  # type: ignore[misc]
    """transformers' progress bar with its logs, with few of gdro's keys."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        super().on_log(args, state, control, logs=few(logs), **kwargs)


def print_few(trainer: Trainer) -> None:
    """Let the trainer's own printer, if it has one of transformers', print few of gdro's keys."""
    for old, new in ((PrinterCallback, FewKeysPrinter), (ProgressCallback, FewKeysProgress)):
        if any(type(one) is old for one in trainer.callback_handler.callbacks):
            trainer.remove_callback(old)
            trainer.add_callback(new())
