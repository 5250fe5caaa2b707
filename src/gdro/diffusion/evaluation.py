"""Looking at a model: images of the validation prompts, the same noise each time, what they are
worth, how far they have moved, and how alike they have become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save

from gdro.core.errors import DiffusionError
from gdro.diffusion.config import DiffusionConfig
from gdro.diffusion.families import Conditions, Family, Images, rows
from gdro.diffusion.rewards import Reward
from gdro.diffusion.store import image_seed
from gdro.diffusion.training import Scored
from gdro.io import write_atomic


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        images: of all validation prompts, one after the other.
        fields: of the record: means over prompts of reward, judge, drift and diversity, and the
            rewards by prompt.
    """

    images: Images
    fields: dict[str, Any]

    def save(self, path: Path) -> None:
        """Keep the images."""
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, save({"images": torch.from_numpy(np.ascontiguousarray(self.images))}))


def load_images(path: Path) -> Images:
    """The images of an evaluation.

    Raises:
        DiffusionError: they are not there.
    """
    if not path.is_file():
        raise DiffusionError(f"{path}: the images of this evaluation are missing")
    found: Images = load_file(path)["images"].numpy()
    return found


def validation_set(data: Sequence[Scored], config: DiffusionConfig) -> list[Scored]:
    """The prompts looked at: the first `num_validation_prompts` by the hash that is their id."""
    chosen = set(sorted(one.stored.prompt_id for one in data)[: config.num_validation_prompts])
    return [one for one in data if one.stored.prompt_id in chosen]


def evaluate(
    family: Family,
    conditions: Conditions,
    data: Sequence[Scored],
    config: DiffusionConfig,
    reward: Reward,
    judge: Reward | None,
) -> Evaluation:
    """Sample and measure. Drift is the kernel distance to the stored images of the base, a prompt
    at a time.

    Raises:
        DiffusionError: a reward raised or returned no numbers.
    """
    images = _sample(family, conditions, data, config)
    count = config.num_validation_images
    table: dict[str, list[float]] = {name: [] for name in ("reward", "judge", "drift", "diversity")}
    unscored = 0
    for place, one in enumerate(data):
        mine = images[place * count : (place + 1) * count]
        prompts, what = (
            [one.stored.prompt] * count,
            f"prompt {one.stored.prompt!r}, validation images",
        )
        values = reward(mine, prompts, what)
        unscored += int(np.isnan(values).sum())
        table["reward"].append(_known_mean(values))
        table["judge"].append(
            _known_mean(judge(mine, prompts, what)) if judge is not None else float("nan")
        )
        seen = features(mine)
        table["drift"].append(kernel_distance(seen, features(one.stored.images)))
        table["diversity"].append(diversity(seen))
    fields: dict[str, Any] = {name: _known_mean(np.array(values)) for name, values in table.items()}
    fields["unscored"] = unscored
    fields["reward_by_prompt"] = {
        one.stored.prompt: value for one, value in zip(data, table["reward"], strict=True)
    }
    return Evaluation(images, fields)


def _sample(
    family: Family, conditions: Conditions, data: Sequence[Scored], config: DiffusionConfig
) -> Images:
    wanted = [
        (one.row, image_seed(config.seed, f"validation/{one.stored.prompt_id}", number))
        for one in data
        for number in range(config.num_validation_images)
    ]
    parts = []
    for first in range(0, len(wanted), config.sample_batch_size):
        batch = wanted[first : first + config.sample_batch_size]
        mine = rows(conditions, torch.tensor([row for row, _ in batch]))
        seeds = [seed for _, seed in batch]
        parts.append(
            family.decode(
                family.sample(mine, seeds, config.num_inference_steps, config.guidance_scale)
            )
        )
    return np.concatenate(parts)


def _known_mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


Floats = NDArray[np.float64]
SIDE = 16
"""Images are compared as means over a grid of at most this many cells a side."""


def features(images: Images) -> Floats:
    """(n, d) cell means of images, in [0, 1]: what the distances below are taken on."""
    pixels = images.astype(np.float64) / 255.0
    height, width = pixels.shape[1:3]
    down, across = max(1, height // SIDE), max(1, width // SIDE)
    cut = pixels[:, : height // down * down, : width // across * across]
    cells = cut.reshape(len(cut), height // down, down, width // across, across, -1).mean((2, 4))
    found: Floats = cells.reshape(len(cut), -1)
    return found


def kernel_distance(first: Floats, second: Floats) -> float:
    """Squared maximum mean discrepancy of two sets of (n, d) features, unbiased (so it may be below
    0).

    The kernel is Gaussian; its width is the median distance inside `second`, the set compared with
    (arXiv 1801.01401 has the estimator with another kernel and a network's features; ours are cell
    means, so compare values of one data set alone).
    """
    if len(first) < 2 or len(second) < 2:
        return float("nan")
    inside = _squared_distances(second, second)
    width = float(np.median(inside[~np.eye(len(second), dtype=bool)])) or 1.0
    k_first = np.exp(-_squared_distances(first, first) / width)
    k_second = np.exp(-inside / width)
    across = np.exp(-_squared_distances(first, second) / width).mean()
    return float(_off_diagonal_mean(k_first) + _off_diagonal_mean(k_second) - 2.0 * across)


def diversity(values: Floats) -> float:
    """Mean distance between two of (n, d) features, as a root mean square over the cells."""
    if len(values) < 2:
        return float("nan")
    return _off_diagonal_mean(np.sqrt(_squared_distances(values, values) / values.shape[1]))


def _squared_distances(first: Floats, second: Floats) -> Floats:
    products = first @ second.T
    found: Floats = np.maximum(
        (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2.0 * products, 0.0
    )
    return found


def _off_diagonal_mean(values: Floats) -> float:
    count = len(values)
    return float((values.sum() - np.trace(values)) / (count * (count - 1)))
