"""Updates on stored groups: which images form a step's groups, and the loss on them.

Nothing is kept from step to step but the adapters: prompts, images, noise and times of a step are
drawn from the seed and the step's number, so a resumed run draws what one that never stopped would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gdro.diffusion.adapters import Adapters
from gdro.diffusion.config import DiffusionConfig
from gdro.diffusion.families import Conditions, Family, rows
from gdro.diffusion.flow import Times, generator, velocity_error
from gdro.diffusion.losses import GroupLoss, dgpo_loss, group_direct_reward_loss
from gdro.diffusion.store import Stored

Floats = NDArray[np.float64]
COUNTED = ("groups", "stating", "singletons", "tied")
OF_STATING = ("winner_err", "loser_err", "winner_err_ref", "loser_err_ref")


@dataclass(frozen=True, slots=True)
class Scored:
    """The images of one prompt with their rewards.

    Attributes:
        stored: the images.
        row: the prompt's row in what the model is told.
        rewards: (n,) NaN where an image has none.
    """

    stored: Stored
    row: int
    rewards: Floats

    @property
    def usable(self) -> NDArray[np.int64]:
        """The images that have a reward."""
        return np.flatnonzero(np.isfinite(self.rewards))

    @property
    def teaches(self) -> bool:
        """Whether two images have different rewards."""
        known = self.rewards[self.usable]
        return bool(len(known) and known.max() > known.min())


@dataclass(frozen=True, slots=True)
class Drawn:
    """A group of a step.

    Attributes:
        of: the prompt's place among those trained on.
        images: (k,) numbers of the images.
    """

    of: int
    images: NDArray[np.int64]


def draw_groups(data: Sequence[Scored], config: DiffusionConfig, step: int) -> list[Drawn]:
    """The groups of a step (from 1). Every prompt comes once before one comes again."""
    count = config.train_batch_size * config.gradient_accumulation_steps
    random = np.random.default_rng([config.seed, step, 4])
    found = []
    for place in range((step - 1) * count, step * count):
        lap, position = divmod(place, len(data))
        of = int(np.random.default_rng([config.seed, lap, 5]).permutation(len(data))[position])
        usable = data[of].usable
        images = random.choice(usable, min(config.group_size, len(usable)), replace=False)
        found.append(Drawn(of, np.sort(images)))
    return found


class Trainer:
    """The updates of a run."""

    def __init__(
        self,
        family: Family,
        adapters: Adapters,
        conditions: Conditions,
        data: Sequence[Scored],
        config: DiffusionConfig,
    ) -> None:
        self.family, self.adapters, self.conditions, self.data, self.config = (
            family,
            adapters,
            conditions,
            data,
            config,
        )
        self.times = Times(family.scheduler, config)
        self.device = next(family.transformer.parameters()).device

    def step(self, number: int) -> dict[str, float]:
        """One update, on all passes' groups together whatever their split; what it looked like."""
        drawn, config = draw_groups(self.data, self.config, number), self.config
        stating = sum(self._states(group) for group in drawn)
        size = config.train_batch_size
        passes = [drawn[first : first + size] for first in range(0, len(drawn), size)]
        found = []
        for index, groups in enumerate(passes):
            first = index * size
            randoms = [generator(config.seed, number, first + at, 6) for at in range(len(groups))]
            part = self._loss(groups, randoms)
            (part.loss / max(stating, 1)).backward()  # type: ignore[no-untyped-call]
            found.append(part)
        rate = float(self.adapters.schedule.get_last_lr()[0])
        norm = self.adapters.update()
        loss = sum(float(part.loss.detach()) for part in found) / max(stating, 1)
        return {"loss": loss, "learning_rate": rate, "grad_norm": norm} | _merged(found)

    def _states(self, group: Drawn) -> bool:
        values = self.data[group.of].rewards[group.images]
        return bool(values.max() > values.min())

    def _loss(self, groups: Sequence[Drawn], randoms: Sequence[torch.Generator]) -> GroupLoss:
        config = self.config
        latents = torch.cat([self.data[group.of].stored.latents[group.images] for group in groups])
        rewards = np.concatenate([self.data[group.of].rewards[group.images] for group in groups])
        number = torch.tensor(
            [at for at, group in enumerate(groups) for _ in group.images], device=self.device
        )
        row = torch.tensor([self.data[group.of].row for group in groups for _ in group.images])
        conditions = rows(self.conditions, row)
        noised = self.times.noised(latents.to(self.device), number, randoms)

        def velocity(x: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            with torch.autocast(
                self.device.type, torch.bfloat16, enabled=config.mixed_precision == "bf16"
            ):
                return self.family.velocity(x, timestep, conditions)

        with torch.no_grad(), self.adapters.reference():
            err_ref = velocity_error(noised, velocity)
        err = velocity_error(noised, velocity)
        names = [self.data[group.of].stored.prompt for group in groups]
        reward = torch.tensor(rewards, device=self.device)
        if config.loss_type == "dgpo":
            return dgpo_loss(err, err_ref, reward.float(), number, config.beta, "sum", names=names)
        tau = 0.0 if config.loss_type == "dpo" else config.tau
        return group_direct_reward_loss(
            err, err_ref, reward, number, config.beta, tau, config.mode, "sum",
            gamma=config.gamma, clamp=config.clamp, names=names,
        )  # fmt: skip


def _merged(parts: Sequence[GroupLoss]) -> dict[str, float]:
    """Counts added up; errors the mean over the groups that state a preference; everything else
    the mean over the passes that have it."""
    tables = [part.metrics() for part in parts]
    stating = np.array([part.stating for part in parts], np.float64)
    merged = {}
    for name in tables[0]:
        values = np.array([table[name] for table in tables])
        share = np.where(np.isfinite(values), stating if name in OF_STATING else 1.0, 0.0)
        if name in COUNTED:
            merged[name] = float(values.sum())
        elif share.any():
            merged[name] = float(np.average(np.nan_to_num(values), weights=share))
        else:
            merged[name] = float("nan")
    return merged
