"""A base of the `digits` family that trains in a second: stripes in the place of digits."""

import pytest
import torch

from gdro.diffusion import classifiers, digits_base
from gdro.diffusion.config import load_config

DIGITS = [f"digit {number}" for number in (1, 4, 7)]


def stripes():
    """400 images of ten classes, a class a direction."""
    labels = torch.arange(400) % 10
    random = torch.Generator().manual_seed(0)
    row, column = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    turn = labels.view(-1, 1, 1) * torch.pi / 10
    phase = torch.rand((400, 1, 1), generator=random) * 6.3
    return torch.sin(row * torch.cos(turn) + column * torch.sin(turn) + phase)[:, None], labels


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The folder of the base."""
    folder = tmp_path_factory.mktemp("diffusion") / "base"
    patch = pytest.MonkeyPatch()
    patch.setattr(digits_base, "real_digits", stripes)
    patch.setattr(classifiers, "EPOCHS", 2)
    digits_base.ensure_base(folder, lambda text: None, steps=20)
    patch.undo()
    return folder


@pytest.fixture
def settings(base, tmp_path):
    """Makes the settings of a short run: overrides by name."""

    def make(**overrides):
        values = {
            "pretrained_model_name_or_path": base,
            "output_dir": tmp_path / "run",
            "prompts": DIGITS,
            "num_images_per_prompt": 6,
            "num_inference_steps": 2,
            "group_size": 3,
            "train_batch_size": 2,
            "max_train_steps": 4,
            "validation_steps": 2,
            "num_validation_images": 3,
            "checkpointing_steps": 2,
            "rank": 2,
        } | overrides
        return load_config("digits", [f"{key}={value}" for key, value in values.items()])

    return make


@pytest.fixture
def own_reward(tmp_path):
    """Writes a reward function: the body of `score(images, prompts)`; returns its setting."""
    made = []

    def write(body):
        path = tmp_path / f"reward_{len(made)}.py"
        path.write_text(f"import numpy as np\n\n\ndef score(images, prompts):\n    {body}\n")
        made.append(path)
        return f"{path}:score"

    return write
