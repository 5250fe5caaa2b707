"""On prompts that never come twice, a controller whose memory is of prompts and their bins is plain
GRPO.

So where the data are as long as the run, the paper's two games, whatever their options, and the
allocations by prompt train what GRPO trains, to the last bit.
"""

from __future__ import annotations

from itertools import product
from typing import get_args

import numpy as np
import pytest

import gdro
from gdro.controllers.parts.weighers import Weights
from gdro.core.adversaries import AdversaryName
from gdro.core.difficulty import Statistic
from gdro.core.shadow_price import Utility
from gdro.core.signals import Signal

STATISTICS, SIGNALS, UTILITIES = get_args(Statistic), get_args(Signal), get_args(Utility)
CASES = [
    *(
        (
            "prompt_gdro",
            {
                "signal": signal,
                "estimator": {"statistic": statistic},
                "adversary": adversary,
                "weights": weights,
            },
        )
        for signal, statistic, adversary, weights in product(
            SIGNALS, STATISTICS, get_args(AdversaryName), get_args(Weights)
        )
    ),
    *(
        ("rollout_gdro", {"utility": utility, "estimator": {"statistic": statistic}})
        for utility, statistic in product(UTILITIES, STATISTICS)
    ),
    *(
        ("joint", {"signal": signal, "allocator": {"utility": utility}, "coupled": coupled})
        for signal, utility, coupled in product(SIGNALS, UTILITIES, (True, False))
    ),
    *(
        (name, {})
        for name in (
            "paper",
            "paper_prompt",
            "paper_rollout",
            "sqrt_law",
            "neyman",
            "knapsack",
            "vip",
        )
    ),
]


def _title(case: tuple[str, dict[str, object]]) -> str:
    return "-".join([case[0], *map(str, case[1].values())])


@pytest.mark.parametrize(("name", "options"), CASES, ids=map(_title, CASES))
def test_prompts_that_never_come_twice_get_what_grpo_gives(name, options):
    controller, rng = gdro.make_controller(name, **options), np.random.default_rng(0)
    rates = rng.random(12)
    for step in range(12):
        ids = [f"source/{step}-{place}" for place in range(12)]
        plan = controller.plan(ids)
        assert (plan.rollouts == controller.mean_rollouts).all()
        feedback = controller.observe(ids, [(rng.random(4) < rate).astype(float) for rate in rates])
        assert (feedback.weights == 1.0).all()
        assert feedback.baselines is None
        if controller.needs_losses:
            controller.observe_losses(ids, rng.normal(size=12))


@pytest.mark.parametrize(
    "name",
    ["prompt_gdro", "rollout_gdro", "joint", "paper", "sqrt_law", "neyman", "knapsack", "vip"],
)
def test_prompts_that_come_again_do_not(name):
    controller, rng = gdro.make_controller(name, min_rollouts=2), np.random.default_rng(0)
    ids, rates, differed = (
        [f"source/{place}" for place in range(12)],
        np.linspace(0.0, 1.0, 12),
        False,
    )
    for _ in range(40):
        plan = controller.plan(ids)
        feedback = controller.observe(
            ids,
            [(rng.random(n) < p).astype(float) for n, p in zip(plan.rollouts, rates, strict=True)],
        )
        if controller.needs_losses:
            controller.observe_losses(ids, rates)
        differed |= bool(
            (plan.rollouts != controller.mean_rollouts).any() or (feedback.weights != 1.0).any()
        )
    assert differed
