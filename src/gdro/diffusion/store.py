"""The offline groups: for every prompt one file of images sampled from the base, which runs may
share.

GROUPS/manifest.json            base, sampler, seed, number; every prompt by its id
GROUPS/<prompt id>.safetensors  latents (n, ...) float32, images (n, height, width, channels) uint8
GROUPS/rewards-<name>.jsonl     one line an image: prompt id, digest of the file, number, reward

A prompt is known by the hash of its text. A file is written whole or not at all, so that sampling
goes on where it stopped; a file that is missing is sampled again, with the same seeds. Rewards
carry the digest of the images they are of: other images, no reward.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from gdro.core.errors import DiffusionError
from gdro.diffusion.config import DiffusionConfig
from gdro.diffusion.families import Conditions, Family, Images, rows
from gdro.io import locked, to_json, write_atomic

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Stored:
    """The images of one prompt.

    Attributes:
        prompt_id, prompt: the prompt.
        digest: of the file.
        latents: (n, ...) as the sampler left them.
        images: the n images.
    """

    prompt_id: str
    prompt: str
    digest: str
    latents: torch.Tensor
    images: Images


def prompt_id(prompt: str) -> str:
    """The id of a prompt: a hash of its text."""
    return sha256(prompt.encode()).hexdigest()[:12]


class GroupStore:
    """The folder of a run's images."""

    def __init__(self, folder: Path, config: DiffusionConfig, base: str) -> None:
        self.folder = folder
        self.count = config.num_images_per_prompt
        self.prompts = {prompt_id(prompt): prompt for prompt in config.prompt_list}
        self.settings = {
            "base": base,
            "family": config.family,
            "seed": config.seed,
            "num_images_per_prompt": self.count,
            "num_inference_steps": config.num_inference_steps,
            "guidance_scale": config.guidance_scale,
            "resolution": config.resolution,
        }

    def open(self) -> None:
        """Make the folder, or check that what it holds is of this base and these settings.

        Raises:
            DiffusionError: it holds images of another base, sampler, seed or number.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / MANIFEST
        known: dict[str, str] = {}
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            for name, value in self.settings.items():
                if found["settings"].get(name) != value:
                    raise DiffusionError(
                        f"{path}: the images are of {name} {found['settings'].get(name)!r}, this"
                        f" run has {value!r}; set it back or name another groups_dir"
                    )
            known = found["prompts"]
        both = known | self.prompts
        if not path.is_file() or both != known:
            write_atomic(
                path, to_json({"settings": self.settings, "prompts": both}, indent=1) + "\n"
            )

    def held(self) -> AbstractContextManager[None]:
        """Wait until no other process writes here, then keep it so."""
        return locked(self.folder, wait=True)

    def sample(
        self,
        family: Family,
        conditions: Conditions,
        config: DiffusionConfig,
        on_prompt: Callable[[int, int], None],
    ) -> int:
        """Sample what is not there yet; the number of prompts sampled. `conditions` has a row a
        prompt, in order."""
        missing = [
            (row, key) for row, key in enumerate(self.prompts) if not self.path(key).is_file()
        ]
        for done, (row, key) in enumerate(missing):
            parts, decoded = [], []
            for first in range(0, self.count, config.sample_batch_size):
                numbers = range(first, min(first + config.sample_batch_size, self.count))
                seeds = [image_seed(config.seed, key, number) for number in numbers]
                mine = rows(conditions, torch.full((len(seeds),), row))
                parts.append(
                    family.sample(mine, seeds, config.num_inference_steps, config.guidance_scale)
                )
                decoded.append(family.decode(parts[-1]))
            latents = torch.cat(parts)
            images = torch.from_numpy(np.concatenate(decoded))
            blob = save(
                {"latents": latents.float().cpu().contiguous(), "images": images},
                {"prompt": self.prompts[key]},
            )
            write_atomic(self.path(key), blob)
            on_prompt(done + 1, len(missing))
        return len(missing)

    def read(self, key: str) -> Stored:
        """The images of a prompt.

        Raises:
            DiffusionError: the file is missing, damaged, or of another number of images.
        """
        path = self.path(key)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
            # mapped, not read: images of many prompts need no memory until they are used
            found = load_file(path)
            latents, images = found["latents"], found["images"].numpy()
        except FileNotFoundError:
            raise DiffusionError(
                f"{path}: the images of prompt {self.prompts[key]!r} are missing; resume the run"
                " and they are sampled again, with the same seeds"
            ) from None
        except (SafetensorError, KeyError) as error:
            raise DiffusionError(
                f"{path}: damaged ({error}); remove the file and resume: its images are sampled"
                " again"
            ) from error
        if not len(latents) == len(images) == self.count:
            raise DiffusionError(
                f"{path}: {len(images)} images, {self.count} expected; remove the file and resume"
            )
        return Stored(key, self.prompts[key], digest, latents, images)

    def path(self, key: str) -> Path:
        """The file of a prompt."""
        return self.folder / f"{key}.safetensors"


def image_seed(seed: int, key: str, number: int) -> int:
    """The seed of an image: a hash of the run's seed, the prompt and the image's number."""
    return int.from_bytes(sha256(f"{seed}/{key}/{number}".encode()).digest()[:6], "big")


def ids(prompts: Sequence[str]) -> list[str]:
    """The ids of prompts."""
    return [prompt_id(prompt) for prompt in prompts]
