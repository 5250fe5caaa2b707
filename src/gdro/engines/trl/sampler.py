"""The order of prompts: TRL's, with the epoch as an input, so that a resumed run sees what a whole
one would."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from trl.trainer.utils import RepeatSampler


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
