"""Small classifiers of 16 x 16 digits: a built-in reward of the `digits` family, and its judge.

classifier   trained on the first half of the real digits
judge        trained on the other half; no reward sees its images
"""

from __future__ import annotations

import torch
from torch import nn

SIZE = 16
CLASSES = 10
BATCH = 64
NOISE = 0.3
"""Standard deviation of the noise on training images, which range over [-1, 1]: no verdict on a
grain."""


def convolutional() -> nn.Module:
    """(N, 1, 16, 16) in [-1, 1] to (N, 10) logits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (SIZE // 4) ** 2, 64),
        nn.ReLU(),
        nn.Linear(64, CLASSES),
    )


NAMES = ("classifier", "judge")
EPOCHS = 12


def train_classifiers(
    images: torch.Tensor, labels: torch.Tensor, seed: int
) -> dict[str, nn.Module]:
    """Both, each trained on its half of (N, 1, 16, 16) images in [-1, 1] with (N,) labels."""
    half = len(images) // 2
    found = {}
    for number, (name, part) in enumerate(
        zip(NAMES, (slice(0, half), slice(half, None)), strict=True)
    ):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * len(NAMES) + number)
            found[name] = _train(convolutional(), images[part], labels[part], EPOCHS)
    return found


def _train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int) -> nn.Module:
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    for _ in range(epochs):
        for rows in torch.chunk(torch.randperm(len(images)), max(1, len(images) // BATCH)):
            seen = images[rows] + NOISE * torch.randn_like(images[rows])
            loss = nn.functional.cross_entropy(model(seen), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.eval()


@torch.no_grad()
def probability(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(N,) probability that each image in [-1, 1] is of its label."""
    return torch.softmax(model(images), 1)[torch.arange(len(labels)), labels]
