"""Kinds of models behind one interface: what the trainer asks of a base, whatever pipeline it
is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from numpy.typing import NDArray
from safetensors.torch import load_file

from gdro.core.errors import DiffusionError
from gdro.diffusion.classifiers import CLASSES, SIZE
from gdro.diffusion.config import DiffusionConfig
from gdro.diffusion.digits_base import digit_velocity, ensure_base
from gdro.diffusion.flow import euler_sample, generator

Images = NDArray[np.uint8]
"""(N, height, width, channels)."""
Conditions = Mapping[str, torch.Tensor]
"""What a model is told of prompts: tensors of one row a prompt."""


class Family(Protocol):
    """A base model and what goes with it.

    Attributes:
        transformer: the model that is adapted: a diffusers ModelMixin with peft's methods.
        scheduler: its sampler.
        lora_targets: names of the modules that get adapters.
        pipeline: the class whose `save_lora_weights` writes the adapters in diffusers' form.
    """

    transformer: Any
    scheduler: FlowMatchEulerDiscreteScheduler
    lora_targets: tuple[str, ...]
    pipeline: Any

    def encode(self, prompts: Sequence[str]) -> Conditions:
        """What the model is told of the prompts; the text encoders may be gone afterwards."""
        ...

    def velocity(
        self, x: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        """The velocity of (N, ...) latents at (N,) times in 0..1000; `conditions` has N rows."""
        ...

    def sample(
        self, conditions: Conditions, seeds: Sequence[int], steps: int, guidance: float
    ) -> torch.Tensor:
        """(N, ...) latents of N rows, the noise of each from its own seed."""
        ...

    def decode(self, latents: torch.Tensor) -> Images:
        """The images of latents."""
        ...


def rows(conditions: Conditions, index: torch.Tensor) -> dict[str, torch.Tensor]:
    """The rows of the prompts with these numbers."""
    return {name: part[index.to(part.device)] for name, part in conditions.items()}


def fingerprint(model: torch.nn.Module) -> str:
    """A hash of every parameter's name, shape and a thousand of its numbers: another base has
    another."""
    digest = sha256()
    for name, part in sorted(model.named_parameters()):
        flat = part.detach().flatten()
        sparse = flat[:: max(1, len(flat) // 1000)].float().cpu().numpy()
        digest.update(f"{name}{tuple(part.shape)}".encode() + sparse.tobytes())
    return digest.hexdigest()[:16]


class Digits:
    """Ten prompts, one-channel images of 16 x 16, latents that are the images in [-1, 1]."""

    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")
    pipeline: Any = StableDiffusion3Pipeline

    def __init__(self, config: DiffusionConfig, tell: Callable[[str], None]) -> None:
        self.folder = Path(config.pretrained_model_name_or_path)
        ensure_base(self.folder, tell)
        self.transformer: Any = SD3Transformer2DModel.from_pretrained(self.folder / "transformer")
        self.scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(self.folder / "scheduler")
        self.table = load_file(self.folder / "digits.safetensors")["prompts"]

    def encode(self, prompts: Sequence[str]) -> Conditions:
        """One row of the table a prompt."""
        return {"prompt": self.table[torch.tensor([digit_of(prompt) for prompt in prompts])]}

    def velocity(
        self, x: torch.Tensor, timestep: torch.Tensor, conditions: Conditions
    ) -> torch.Tensor:
        """See Family."""
        return digit_velocity(self.transformer, x, timestep, conditions["prompt"])

    @torch.no_grad()
    def sample(
        self, conditions: Conditions, seeds: Sequence[int], steps: int, guidance: float
    ) -> torch.Tensor:
        """See Family; there is no guidance."""
        noise = torch.stack(
            [torch.randn((1, SIZE, SIZE), generator=generator(seed)) for seed in seeds]
        )
        found = euler_sample(
            self.scheduler, noise, steps, lambda x, at: self.velocity(x, at, conditions)
        )
        return found.clamp(-1.0, 1.0)

    def decode(self, latents: torch.Tensor) -> Images:
        """See Family."""
        pixels = ((latents + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).numpy()


def digit_of(prompt: str) -> int:
    """The digit that a prompt of the family asks for.

    Raises:
        DiffusionError: it names none, or more than one.
    """
    found = re.findall(r"[0-9]", prompt)
    if len(found) != 1 or int(found[0]) >= CLASSES:
        raise DiffusionError(
            f"prompt {prompt!r}: family digits needs exactly one digit in it, as in 'a"
            " handwritten 7'"
        )
    return int(found[0])
