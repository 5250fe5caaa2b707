"""The part of the trainer that makes a resumed run continue bit for bit: order of prompts, and what a checkpoint holds.

TRL's sampler would replay the first epoch's order after a resume, and its checkpoints know neither the controller nor
the rollouts that wait between two updates on the same generation batch.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from gdro.core.errors import OptionError
from gdro.engines.interface import Controller
from gdro.engines.trl import checkpoint
from gdro.engines.trl.fast_trainer import FastTrainer
from gdro.engines.trl.losses import LossLedger
from gdro.engines.trl.sampler import EpochSampler

CHECKPOINT_PREFIX = "checkpoint"


class ResumableTrainer(FastTrainer):
    """A trainer whose checkpoints hold everything. What they hold is set by the subclass before `super().__init__`.

    Attributes:
        controller: its state goes into every checkpoint.
        place: where the trainer stands.
    """

    controller: Controller
    place: checkpoint.Place
    _ledger: LossLedger
    _sampler: EpochSampler | None = None

    @property
    def _generate_every(self) -> int:
        """Forward-backward passes between two generation batches."""
        return int(self.args.steps_per_generation * self.num_iterations)

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        """TRL's order of prompts, epoch by epoch."""
        self._sampler = EpochSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
        )
        return self._sampler

    def start_epoch(self) -> None:
        """Tell the sampler which epoch the run stands in. Called at the start of each."""
        if self._sampler is not None:
            self._sampler.set_epoch(math.floor(self.state.epoch or 0.0))

    def _require_full_batch(self) -> None:
        prompts = self.args.generation_batch_size // self.num_generations
        if len(self.train_dataset) < prompts:
            raise OptionError(
                f"the training set has {len(self.train_dataset)} prompts, one generation batch takes {prompts} "
                f"distinct ones (generation_batch_size {self.args.generation_batch_size} / num_generations "
                f"{self.num_generations}); lower the batch size or add prompts"
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The controller's state first, so that a checkpoint which TRL finished writing is whole."""
        folder = Path(self._get_output_dir(trial=trial)) / f"{CHECKPOINT_PREFIX}-{self.state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        self.place.micro_step = self._step
        self.place.buffered = self._step % self._generate_every != 0
        if self.place.buffered:
            path = checkpoint.buffer_file(folder, self.accelerator.process_index)
            checkpoint.save_buffer(path, self._buffered_inputs, self._ledger)
        if self.args.should_save:
            checkpoint.save_place(folder, self.place, self.controller.state_dict())
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint_folder: str | None) -> None:
        """TRL's, then the controller's state and the place in the generation batch."""
        super()._load_optimizer_and_scheduler(checkpoint_folder)
        if checkpoint_folder is None:
            return
        folder = Path(checkpoint_folder)
        self.place, state = checkpoint.load_place(folder, self.accelerator.num_processes)
        self.controller.load_state_dict(state)
        self._step = self.place.micro_step
        self.place.processes = self.accelerator.num_processes
        if self.place.buffered:
            path = checkpoint.buffer_file(folder, self.accelerator.process_index)
            self._buffered_inputs = checkpoint.load_buffer(path, self._ledger, self.accelerator.device)
