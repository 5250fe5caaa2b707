"""Rewards of stored images: a function of the user's or a built-in classifier, image by image, kept
in a file.

A reward function takes `(images, prompts)`, n PIL images and their n prompts, and returns n
numbers. None says that it cannot judge an image, which is then left out and counted; NaN and
infinity are errors, because they are nearly always a bug of the function.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gdro.core.errors import DiffusionError
from gdro.diffusion.classifiers import probability
from gdro.diffusion.config import BUILT_IN, DiffusionConfig
from gdro.diffusion.digits_base import load_classifiers
from gdro.diffusion.families import Images, digit_of
from gdro.diffusion.store import GroupStore, Stored
from gdro.io import to_json
from gdro.own_code import load_own

Floats = NDArray[np.float64]
BATCH = 64
"""Images given to a reward function together, and written down together."""


@dataclass(frozen=True)
class Reward:
    """A reward.

    Attributes:
        name: as the settings have it.
        key: names its file; of the user's code it holds a hash of the source, so that another
            function has another.
        function: of (images, prompts).
    """

    name: str
    key: str
    function: Callable[[list[Any], list[str]], Sequence[float | None]]

    def __call__(self, images: Images, prompts: Sequence[str], what: str) -> Floats:
        """(n,) rewards; NaN where the function says None.

        Args:
            what: names the images in errors.

        Raises:
            DiffusionError: the function raised, or returned something else than n finite numbers or
                None.
        """
        pictures = [
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image) for image in images
        ]
        try:
            found = list(self.function(pictures, list(prompts)))
        except Exception as error:
            raise DiffusionError(
                f"reward {self.name} raised on {what}: {type(error).__name__}: {error}"
            ) from error
        if len(found) != len(images):
            raise DiffusionError(
                f"reward {self.name} returned {len(found)} rewards for {len(images)} images of"
                f" {what}"
            )
        values = np.full(len(found), math.nan)
        for number, value in enumerate(found):
            if value is None:
                continue
            try:
                values[number] = float(value)
            except (TypeError, ValueError):
                raise DiffusionError(
                    f"reward {self.name} returned {value!r} for image {number} of {what}; return"
                    " numbers or None"
                ) from None
            if not math.isfinite(values[number]):
                raise DiffusionError(
                    f"reward {self.name} returned {value!r} for image {number} of {what}; return"
                    " finite numbers, or None for an image that it cannot judge"
                )
        return values


def load_reward(name: str, config: DiffusionConfig) -> Reward:
    """The reward that the settings name.

    Raises:
        OwnCodeError, DiffusionError: it is not there.
    """
    if config.family == "digits" and name in BUILT_IN:
        return (
            Reward(name, name, _ink)
            if name == "ink"
            else _classifier(name, Path(config.pretrained_model_name_or_path))
        )
    function = load_own(name, "reward function")
    if not callable(function):
        raise DiffusionError(f"reward {name}: {function!r} is no function")
    source = Path(name.rpartition(":")[0])
    mark = sha256(source.read_bytes()).hexdigest()[:8]
    short = re.sub(r"[^A-Za-z0-9]+", "_", f"{source.stem}_{name.rpartition(':')[2]}")
    return Reward(name, f"{short}-{mark}", function)


def _ink(images: list[Any], prompts: list[str]) -> Sequence[float]:
    """Mean brightness in [0, 1], whatever is drawn: a reward that can be hacked."""
    return [float(np.asarray(image).mean()) / 255.0 for image in images]


def _classifier(name: str, base: Path) -> Reward:
    net = load_classifiers(base)[name]

    def function(images: list[Any], prompts: list[str]) -> Sequence[float]:
        pixels = (
            torch.from_numpy(np.stack([np.asarray(image) for image in images])).float()[:, None]
            / 127.5
            - 1.0
        )
        found: list[float] = probability(
            net, pixels, torch.tensor([digit_of(text) for text in prompts])
        ).tolist()
        return found

    return Reward(name, name, function)


def score(
    store: GroupStore,
    stored: Stored,
    reward: Reward,
    known: dict[tuple[str, str], dict[int, float]],
) -> Floats:
    """(n,) rewards of a prompt's images: those written down, and the rest computed and written
    down.

    A reward that raises loses nothing: what was scored before is in the file.
    """
    have = known.setdefault((stored.prompt_id, stored.digest), {})
    missing = [number for number in range(len(stored.images)) if number not in have]
    for first in range(0, len(missing), BATCH):
        numbers = missing[first : first + BATCH]
        what = f"prompt {stored.prompt!r}, images {numbers[0]} to {numbers[-1]}"
        values = reward(stored.images[numbers], [stored.prompt] * len(numbers), what)
        have.update(zip(numbers, values.tolist(), strict=True))
        with _file(store, reward).open("a", encoding="utf-8") as file:
            for number, value in zip(numbers, values.tolist(), strict=True):
                line = {
                    "id": stored.prompt_id,
                    "of": stored.digest,
                    "image": number,
                    "reward": value,
                }
                file.write(to_json(line) + "\n")
    return np.array([have[number] for number in range(len(stored.images))])


def written_rewards(store: GroupStore, reward: Reward) -> dict[tuple[str, str], dict[int, float]]:
    """The rewards written down, by prompt id and digest of the images; a line half written does not
    count."""
    path = _file(store, reward)
    found: dict[tuple[str, str], dict[int, float]] = {}
    if not path.is_file():
        return found
    text = path.read_text(encoding="utf-8")
    # cut off while it was written: the next line must not join it
    if text and not text.endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        value = math.nan if entry["reward"] is None else float(entry["reward"])
        found.setdefault((entry["id"], entry["of"]), {})[entry["image"]] = value
    return found


def _file(store: GroupStore, reward: Reward) -> Path:
    return store.folder / f"rewards-{reward.key}.jsonl"
