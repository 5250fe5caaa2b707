"""The tasks of the study of supervised group robustness: real data with a shortcut, and who is told
of it.

In each task the label is two-valued and `attribute` is what a model may lean on instead of the
input. In training and validation it agrees with the label in 95 % of the samples (german credit: as
it is), in the test set in half of them. True groups are 2 label + attribute. `clean` groups are
these; `blind` groups are a natural partition that misses the attribute, as GC-DRO asks about: the
source of a text, the digit, the age.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from gdro.core.types import Floats, Ints
from gdro.robust.datasets import DOMAINS, digits, german_credit, mnist_5k, text_domains

AGREE = 0.95
NOISE = 0.2
HASHED = 1024


@dataclass(frozen=True)
class Part:
    """Samples of one split.

    Attributes:
        x: (n, d) float32.
        y: (n,) labels as observed.
        groups: (n,) true group, 2 y + attribute.
        blind: (n,) group of the partition that misses the attribute.
    """

    x: torch.Tensor
    y: torch.Tensor
    groups: torch.Tensor
    blind: torch.Tensor


@dataclass(frozen=True)
class Task:
    """One task at one seed."""

    train: Part
    validation: Part
    test: Part
    hidden: int
    blind_names: tuple[str, ...]


def make_task(name: str, seed: int) -> Task:
    """The task of this name; splits, shortcut and noise are functions of the seed."""
    return TASKS[name](np.random.default_rng((seed, crc32(name.encode()))))


@cache
def _texts() -> tuple[list[str], Ints, Ints]:
    rows = [row for row in text_domains() if abs(row.rating) >= 0.5]
    labels = np.array([row.rating > 0 for row in rows], np.int64)
    places = {name: place for place, name in enumerate(DOMAINS)}
    return (
        [row.text.lower() for row in rows],
        labels,
        np.array([places[row.domain] for row in rows]),
    )


def _hash_words(texts: list[str]) -> NDArray[np.float32]:
    """(n, HASHED) counts of hashed words and pairs of words, each row of length 1."""
    table = np.zeros((len(texts), HASHED), np.float32)
    for row, text in enumerate(texts):
        words = re.findall(r"[a-z']+|[!?:;)(]+", text)
        for token in (*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))):
            table[row, crc32(token.encode()) % HASHED] += 1.0
    return np.asarray(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1.0))


def _text(rng: np.random.Generator) -> Task:
    """Is a text positive? Each begins with one of two made-up words, which agrees with the
    label."""
    texts, labels, domains = _texts()
    sizes = (2000, 800, 2000)
    chosen = rng.permutation(len(texts))[: sum(sizes)]
    y, attribute = labels[chosen], _attribute(labels[chosen], sizes, rng)
    words = _hash_words([texts[place] for place in chosen])
    prefix = np.eye(2, dtype=np.float32)[attribute]
    x = np.concatenate([words, 0.35 * prefix], axis=1)
    return _cut(x, y, attribute, domains[chosen], sizes, 0, tuple(DOMAINS))


def _mnist(rng: np.random.Generator, noise: float = 0.0) -> Task:
    """Is a digit 5 or more? Its colour agrees with the answer. With noise, so many observed labels
    are wrong (not in the test set), and groups are made from what is observed."""
    images, numbers = mnist_5k()
    chosen, sizes = rng.permutation(5000), (2000, 800, 2000)
    pooled = images[chosen].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196) / 255.0
    y = (numbers[chosen] >= 5).astype(np.int64)
    attribute = _attribute(y, sizes, rng)
    wrong = (rng.random(5000) < noise) & (np.arange(5000) < sizes[0] + sizes[1])
    x = np.concatenate([pooled * (attribute == colour)[:, None] for colour in (0, 1)], axis=1)
    names = tuple(str(digit) for digit in range(10))
    return _cut(x, np.where(wrong, 1 - y, y), attribute, numbers[chosen], sizes, 64, names)


def _digits(rng: np.random.Generator) -> Task:
    """Is a digit odd? A bright or dark frame agrees with the answer."""
    images, numbers = digits()
    chosen, sizes = rng.permutation(1797), (1000, 300, 497)
    y = numbers[chosen] % 2
    attribute = _attribute(y, sizes, rng)
    x = np.concatenate(
        [images[chosen].reshape(-1, 64) / 16.0, np.repeat(attribute[:, None], 4, axis=1)], axis=1
    )
    return _cut(
        x, y, attribute, numbers[chosen], sizes, 32, tuple(str(digit) for digit in range(10))
    )


def _credit(rng: np.random.Generator) -> Task:
    """Is a credit good? The attribute is sex (1 male); nothing is planted, and the test set is
    mixed as the training set. Sex is among the inputs."""
    rows = german_credit()
    chosen, sizes = rng.permutation(1000), (500, 200, 300)
    numbers = np.array(
        [[float(row[key]) for key in ("credit_amount", "duration", "age", "job")] for row in rows]
    )
    columns = [(numbers - numbers.mean(axis=0)) / numbers.std(axis=0)]
    for key in ("sex", "housing", "saving_accounts", "checking_account", "purpose"):
        values = sorted({row[key] for row in rows})
        columns.append(
            np.array([[row[key] == value for value in values] for row in rows], np.float64)
        )
    y = np.array([int(row["risk"]) for row in rows])
    sex = np.array([row["sex"] == "male" for row in rows], np.int64)
    age = np.digitize(numbers[:, 2], [26, 41])
    x = np.concatenate(columns, axis=1)
    names = ("up to 25", "26 to 40", "over 40")
    return _cut(x[chosen], y[chosen], sex[chosen], age[chosen], sizes, 0, names)


def _attribute(y: Ints, sizes: tuple[int, int, int], rng: np.random.Generator) -> Ints:
    agree = np.where(np.arange(len(y)) < sizes[0] + sizes[1], AGREE, 0.5)
    return np.where(rng.random(len(y)) < agree, y, 1 - y)


def _cut(
    x: Floats,
    y: Ints,
    attribute: Ints,
    blind: Ints,
    sizes: tuple[int, int, int],
    hidden: int,
    names: tuple[str, ...],
) -> Task:
    parts, start = [], 0
    for size in sizes:
        rows = slice(start, start + size)
        groups = torch.from_numpy(2 * y[rows] + attribute[rows])
        inputs = torch.from_numpy(np.asarray(x[rows], np.float32))
        parts.append(Part(inputs, torch.from_numpy(y[rows]), groups, torch.from_numpy(blind[rows])))
        start += size
    return Task(*parts, hidden, names)


TASKS: dict[str, Callable[[np.random.Generator], Task]] = {
    "text": _text,
    "mnist": _mnist,
    "mnist_noise": lambda rng: _mnist(rng, NOISE),
    "digits": _digits,
    "credit": _credit,
}
