"""Controllers under abuse: budgets by the thousand, feedback that is late, missing, doubled or
mixed up, a resume with outstanding plans, a million prompts.

The long form, 100,000 budgets, runs with `pytest -m slow`.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

import gdro
from gdro.controllers.registry import controller_names
from gdro.core.budget import exact_budget
from gdro.core.errors import BudgetError, GDROError
from gdro.core.state import state_hash

SPECIAL = [0.0, 5e-324, 1e-308, 1e-12, 1.0, 1.0 + 2**-52, 1e12, 1e308, 1.7976931348623157e308]
BROKEN = [float("nan"), float("inf"), -1.0, -5e-324]


def random_budget(source: random.Random) -> tuple[np.ndarray, int, int, int]:
    """A case from one of seven families, about one in four of them without an answer."""
    generator = np.random.default_rng(source.getrandbits(64))
    count = source.choice([1, 1, 2, 3, 17, 64, 256])
    low = source.choice([0, 1, 1, 2, 5, 40])
    high = low + source.choice([0, 0, 1, 2, 10, 1000])
    family = source.randrange(7)
    if family == 0:
        demand = generator.random(count)
    elif family == 1:
        demand = np.full(count, source.choice(SPECIAL))
    elif family == 2:
        demand = generator.choice(SPECIAL, count)
    elif family == 3:
        demand = 10.0 ** generator.uniform(-308, 308, count)
    elif family == 4:
        demand = np.sqrt(generator.integers(0, 4, count) * 0.25)
    elif family == 5:
        demand = generator.integers(low, high + 1, count).astype(float)
    else:
        demand = generator.random(count)
        demand[generator.integers(count)] = source.choice(SPECIAL + BROKEN)
    total = source.randint(low * count, high * count)
    return demand, total + source.choice([0] * 8 + [-1, 1, high * count + 1]), low, high


def check_budgets(cases: int, seed: int) -> tuple[int, int]:
    """How many were exact and how many a named error; anything else fails."""
    source, exact, named = random.Random(seed), 0, 0
    for _ in range(cases):
        demand, total, low, high = random_budget(source)
        solvable = low * len(demand) <= total <= high * len(demand)
        solvable = solvable and bool((np.isfinite(demand) & (demand >= 0)).all())
        try:
            plan = exact_budget(demand, total, low, high)
        except BudgetError:
            assert not solvable, (demand, total, low, high)
            named += 1
            continue
        assert solvable
        assert plan.sum() == total
        assert low <= plan.min() <= plan.max() <= high
        exact += 1
    return exact, named


def test_five_thousand_budgets():
    exact, named = check_budgets(5_000, seed=0)
    assert exact + named == 5_000
    assert exact > 3_000
    assert named > 500


@pytest.mark.slow
def test_a_hundred_thousand_budgets():
    assert sum(check_budgets(100_000, seed=1)) == 100_000


@pytest.mark.parametrize("name", ["joint", "paper", "sqrt_law", "uniform"])
def test_feedback_missing_doubled_or_mixed_up_is_never_taken(name):
    """500 random manglings of a good answer: all refused without a trace. The good one is taken in
    any order."""
    source = random.Random(0)
    controller = gdro.make_controller(name, min_rollouts=1)
    ids = [f"p{i}" for i in range(20)]
    for _ in range(5):
        plan = controller.plan(ids)
        controller.observe(ids, [np.arange(n) % 2 for n in plan.rollouts])
        if controller.needs_losses:
            controller.observe_losses(ids, np.linspace(-1, 1, 20))
    plan = controller.plan(ids)
    before = gdro.state_hash(controller.state_dict())
    for _ in range(500):
        names, rewards = list(ids), [[0.5] * n for n in plan.rollouts]
        place, other = source.sample(range(20), 2)
        mangling = source.randrange(6)
        if mangling == 0:  # a worker is missing
            del names[place], rewards[place]
        elif mangling == 1:  # a worker answers twice
            names.append(names[place])
            rewards.append(rewards[place])
        elif mangling == 2:  # one id overwritten by another
            names[place] = names[other]
        elif mangling == 3:  # a stranger
            names[place] = "stranger"
        elif mangling == 4:  # a reward lost
            rewards[place] = rewards[place][:-1]
        else:  # a reward too many
            rewards[place] = [*rewards[place], 0.5]
        with pytest.raises(GDROError):
            controller.observe(names, rewards)
    assert gdro.state_hash(controller.state_dict()) == before
    order = source.sample(range(20), 20)
    controller.observe([ids[i] for i in order], [[0.5] * plan.rollouts[i] for i in order])


def test_a_million_prompts():
    """Bytes of state for each prompt; seconds and memory are for gdro bench million."""
    controller = gdro.make_controller("joint")
    table = controller.table
    ids = [f"dapo/{i}" for i in range(1_000_000)]
    table.admit(table.look_up(ids))
    assert len(table) == 1_000_000
    assert table.bytes_per_prompt <= 64
    for start in (0, 999_744):
        plan = controller.plan(ids[start : start + 256])
        controller.observe(plan.prompt_ids, [np.arange(n) % 2 for n in plan.rollouts])
    state = controller.state_dict()["prompts"]
    size = (
        sum(column.nbytes for column in state["columns"].values())
        + state["ids"].nbytes
        + state["id_lengths"].nbytes
    )
    assert size <= 100e6


PROMPTS, STEPS, BATCH = 40, 30, 8


def _controller(name):
    controller = gdro.make_controller(
        name, estimator={"bins": 4}, mean_rollouts=4, min_rollouts=2, max_rollouts=8, seed=3
    )
    ids = [f"p{number}" for number in range(PROMPTS)]
    controller.describe(ids, ids)
    return controller


def _rewards(step, plan):
    draw = np.random.default_rng(step)
    return [draw.integers(0, 2, count).astype(float) for count in plan.rollouts]


def _play(name, delay, tmp_path, cut=None):
    """Answers lag `delay` plans behind; with `cut`, a new controller is loaded from a file before
    that step."""
    controller, waiting, seen = _controller(name), [], []
    for step in range(STEPS):
        if step == cut:
            gdro.save_state(tmp_path / "state.npz", controller.state_dict())
            controller = _controller(name)
            controller.load_state_dict(gdro.load_state(tmp_path / "state.npz"))
        draw = np.random.default_rng(100 + step)
        ids = [f"p{number}" for number in draw.choice(PROMPTS, BATCH, replace=False)]
        plan = controller.plan(ids)
        waiting.append((ids, _rewards(step, plan)))
        seen.append(plan.rollouts.tolist())
        if len(waiting) > delay:
            ids, rewards = waiting.pop(0)
            seen.append(controller.observe(ids, rewards).weights.tolist())
            if controller.needs_losses:
                controller.observe_losses(ids, np.random.default_rng(step).normal(size=len(ids)))
    return seen, state_hash(controller.state_dict()), len(waiting)


@pytest.mark.parametrize("name", controller_names())
@pytest.mark.parametrize("delay", [0, 1, 5])
def test_outstanding_plans_survive_a_resume(name, delay, tmp_path):
    whole, whole_hash, waiting = _play(name, delay, tmp_path)
    assert waiting == delay
    for cut in (1, 7, STEPS - 1):
        assert _play(name, delay, tmp_path, cut)[:2] == (whole, whole_hash)
