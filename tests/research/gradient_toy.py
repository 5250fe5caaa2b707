"""A policy whose gradients are known in closed form: one token, right with probability p, logits
that are the weights.

The score of the right answer is (1 - p) u and that of the wrong one -p u, with |u|^2 = 2.
"""

from __future__ import annotations

from math import comb
from types import SimpleNamespace

import numpy as np
import torch

from gdro.config import load_config
from gdro.core.advantages import group_advantages
from gdro.data.prompts import Prompt
from gradient_scores import Groups


class ToyModel(torch.nn.Module):
    """Prompt token i has its own two logits; token 1 is the right answer."""

    def __init__(self, rates):
        super().__init__()
        rates = torch.tensor(rates)
        self.table = torch.nn.Parameter(
            torch.stack([torch.zeros(len(rates)), torch.log(rates / (1 - rates))], dim=1)
        )
        self.config = SimpleNamespace(_attn_implementation="eager")
        self.device = torch.device("cpu")

    def set_attn_implementation(self, name):
        self.config._attn_implementation = name

    def forward(self, input_ids, use_cache):
        return SimpleNamespace(logits=self.table[input_ids])


class ToySetting:
    """Stands for `Setting`: prompt i is the token i."""

    def __init__(self, rates):
        self.rates = np.array(rates)
        self.config = load_config(None, [])
        self.policy = SimpleNamespace(model=ToyModel(rates))
        self.prompts = [
            Prompt(id=f"p{i}", data_source="toy", messages="?", answer="1")
            for i in range(len(rates))
        ]
        self.encoded = [[i] for i in range(len(rates))]
        self.ids = tuple(prompt.id for prompt in self.prompts)

    def part(self, start, end):
        return self if (start, end) == (0, self.config.prompts_per_step) else None

    def draw(self, counts, seed):
        rng = np.random.default_rng(seed)
        counts = np.broadcast_to(counts, len(self.rates))
        rewards = [
            (rng.random(n) < p).astype(float) for n, p in zip(counts, self.rates, strict=True)
        ]
        return Groups([[[int(r)] for r in found] for found in rewards], rewards)


def scores(rewards, p):
    """(N,) scores along u / |u|, so that products of scores are products of numbers."""
    return np.sqrt(2.0) * np.where(rewards > 0, 1 - p, -p)


def gram(rewards, p):
    """(N, N) inner products of the scores."""
    along = scores(rewards, p)
    return np.outer(along, along)


def group_moments(p, n, kind, ddof=0):
    """Mean and variance of a group's mean gradient along u / |u|, by enumeration of the number of
    right answers."""
    chance = np.array([comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)])
    rewards = [np.array([1.0] * c + [0.0] * (n - c)) for c in range(n + 1)]
    advantages = group_advantages(rewards, kind, ddof=ddof, clip=5.0)
    value = np.array([a @ scores(r, p) / n for a, r in zip(advantages, rewards, strict=True)])
    mean = float(chance @ value)
    return mean, float(chance @ value**2 - mean**2)
