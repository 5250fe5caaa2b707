"""A population of simulated prompts: success rates from skills and difficulties, for a learner of a few numbers.

Prompt i succeeds with probability p_i, logit p_i = x_i . theta - d_i. The features x_i say which skills it needs:

    one shared by all, one of its family, `skills` hidden ones (a random direction, so that prompts help and hinder one
    another; there are far fewer skills than prompts), and one shortcut that helps easy prompts and hurts hard ones

Difficulties d_i have a heavy upper tail: a family level, plus a normal part, plus an exponential part for every third
prompt. The shortcut stands for what sharpens a policy on what it already solves; without it (`shortcut=0`) all scores
rise together. Held-out prompts come from the same families and the same law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdro.core.types import Floats, Ints

Features = NDArray[np.float32]


@dataclass(frozen=True)
class World:
    """The law that prompts are drawn from.

    Attributes:
        prompts: prompts to train on.
        families: each with its own level and skill.
        skills: hidden skills beside the shared one and the families'.
        hardness, spread: middle and standard deviation of the difficulties' normal part.
        tail: mean of the exponential part of the hard tail.
        shared, own, hidden, shortcut: lengths of the four parts of the features.
        turn: difficulty at which the shortcut turns from help to harm.
    """

    prompts: int = 2000
    families: int = 8
    skills: int = 24
    hardness: float = 1.6
    spread: float = 2.2
    tail: float = 3.0
    shared: float = 0.1
    own: float = 0.3
    hidden: float = 1.0
    shortcut: float = 0.5
    turn: float = 1.5

    @property
    def dimensions(self) -> int:
        """Numbers that the learner learns."""
        return 2 + self.families + self.skills


@dataclass(frozen=True)
class Population:
    """Prompts by row.

    Attributes:
        ids: (N,) e.g. `family03/0000017`.
        features: (N, K) x_i.
        difficulty: (N,) d_i.
    """

    ids: Sequence[str]
    features: Features
    difficulty: NDArray[np.float32]

    def rates(self, theta: Floats, rows: Ints | slice = slice(None)) -> Floats:
        """(M,) success rates of rows, for a learner at theta (K,)."""
        logit = self.features[rows] @ theta.astype(np.float32) - self.difficulty[rows]
        return 1.0 / (1.0 + np.exp(-logit.astype(np.float64)))


def draw_population(world: World, count: int, seed: int, stream: int) -> Population:
    """`count` prompts of a world; another stream of the same seed gives others of the same families."""
    level = np.random.default_rng((seed, 0)).normal(0.0, 1.0, world.families)
    rng = np.random.default_rng((seed, 1 + stream))
    family = rng.integers(0, world.families, count)
    tail = np.where(rng.random(count) < 1.0 / 3.0, rng.exponential(world.tail, count), 0.0)
    difficulty = world.hardness + level[family] + rng.normal(0.0, world.spread, count) + tail
    features = np.zeros((count, world.dimensions), np.float32)
    features[:, 0] = world.shared
    features[np.arange(count), 1 + family] = world.own
    hidden = rng.standard_normal((count, world.skills), np.float32)
    hidden *= world.hidden / np.sqrt(np.maximum((hidden**2).sum(axis=1, keepdims=True), 1e-12))
    features[:, 1 + world.families : -1] = hidden
    features[:, -1] = world.shortcut * np.clip((world.turn - difficulty) / world.spread, -1.5, 1.5)
    ids = [f"family{f:02d}/{row:07d}" for row, f in enumerate(family.tolist())]
    return Population(ids, features, difficulty.astype(np.float32))
