"""A small world of prompts with known success rates, for the tests of the peers."""

from __future__ import annotations

import numpy as np

from gdro.controllers.controller import Controller
from gdro.core.types import Feedback, Plan


def rewards_for(plan: Plan, rate: dict[str, float], rng: np.random.Generator) -> list[np.ndarray]:
    return [
        (rng.random(n) < rate[prompt_id]).astype(float)
        for prompt_id, n in zip(plan.prompt_ids, plan.rollouts, strict=True)
    ]


def step(
    controller: Controller, ids: list[str], rate: dict[str, float], rng: np.random.Generator
) -> Feedback:
    plan = controller.plan(ids)
    return controller.observe(ids, rewards_for(plan, rate, rng))


def rates(count: int, seed: int = 0) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    return {
        f"family{place % 5}/{place}": float(p) for place, p in enumerate(rng.beta(0.6, 0.9, count))
    }


def exact(controller: Controller, rewards: dict[str, list[float]]) -> Feedback:
    """One step in which each prompt gets exactly these rewards (as many as mean_rollouts)."""
    controller.plan(list(rewards))
    return controller.observe(list(rewards), list(rewards.values()))
