"""Rectified flow: times drawn as SD3 does, images noised, velocity errors. Everything drawn comes
from a given seed.

With sigma in (0, 1], noise e and image x: x_sigma = (1 - sigma) x + sigma e, velocity v = e - x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import (
    compute_density_for_timestep_sampling,
    compute_loss_weighting_for_sd3,
)

from gdro.diffusion.config import DiffusionConfig

Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of (x_sigma (N, ...), timestep (N,) in the model's unit), the model's velocity (N, ...)."""


@dataclass(frozen=True, slots=True)
class Noised:
    """A batch of groups, noised.

    Attributes:
        x: (N, ...) the noised latents.
        target: (N, ...) the velocity that a model should predict.
        timestep: (N,) sigma in the scheduler's unit, 0 to 1000.
        weight: (N,) SD3's weight of the squared error.
    """

    x: torch.Tensor
    target: torch.Tensor
    timestep: torch.Tensor
    weight: torch.Tensor


def generator(*words: int) -> torch.Generator:
    """A generator of its own for every tuple of whole numbers, on the CPU so that devices agree."""
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


class Times:
    """The training times of a scheduler: its shifted table of sigmas, drawn from by SD3's
    density."""

    def __init__(self, scheduler: FlowMatchEulerDiscreteScheduler, config: DiffusionConfig) -> None:
        # sampling rewrites its table
        fresh = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config)
        self.sigmas, self.timesteps = fresh.sigmas.clone(), fresh.timesteps.clone()
        self.config = config

    def noised(
        self, latents: torch.Tensor, group: torch.Tensor, randoms: Sequence[torch.Generator]
    ) -> Noised:
        """Noise (N, ...) latents; those of one group, (N,) integers 0..G-1, share the noise and the
        time.

        Args:
            randoms: G generators, one a group: how groups are split over passes changes nothing.
        """
        density = torch.cat([self._density(random) for random in randoms])
        index = (density * len(self.sigmas)).long().clamp(0, len(self.sigmas) - 1)
        noise = torch.stack(
            [torch.randn(latents.shape[1:], generator=random) for random in randoms]
        )
        noise = noise.to(latents)[group]
        sigma = self.sigmas[index]
        weight = compute_loss_weighting_for_sd3(self.config.weighting_scheme, sigmas=sigma)
        wide = sigma.to(latents)[group].reshape(-1, *[1] * (latents.ndim - 1))
        return Noised(
            x=(1.0 - wide) * latents + wide * noise,
            target=noise - latents,
            timestep=self.timesteps[index].to(latents)[group],
            weight=weight.to(latents)[group],
        )

    def _density(self, random: torch.Generator) -> torch.Tensor:
        """(1,) a draw of SD3's density on (0, 1)."""
        config = self.config
        found: torch.Tensor = compute_density_for_timestep_sampling(
            weighting_scheme=config.weighting_scheme,
            batch_size=1,
            logit_mean=config.logit_mean,
            logit_std=config.logit_std,
            mode_scale=config.mode_scale,
            generator=random,
        )
        return found


def velocity_error(noised: Noised, velocity: Velocity) -> torch.Tensor:
    """(N,) weighted squared error of a model, the MEAN over a latent's elements, in float32."""
    predicted = velocity(noised.x, noised.timestep).float()
    return noised.weight.float() * (predicted - noised.target.float()).square().flatten(1).mean(1)


def euler_sample(
    scheduler: FlowMatchEulerDiscreteScheduler, noise: torch.Tensor, steps: int, velocity: Velocity
) -> torch.Tensor:
    """(N, ...) noise to samples, by the scheduler's own steps."""
    scheduler.set_timesteps(steps)
    x = noise
    for timestep in scheduler.timesteps:
        x = scheduler.step(velocity(x, timestep.expand(len(x))), timestep, x, return_dict=False)[0]
    return x
