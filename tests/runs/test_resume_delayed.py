"""Delayed feedback over a resume: outstanding plans are part of a controller's state, whatever the
delay."""

import numpy as np
import pytest

import gdro
from gdro.controllers.registry import controller_names
from gdro.core.state import state_hash

PROMPTS, STEPS, BATCH = 40, 30, 8


def _controller(name):
    return gdro.make_controller(
        name, estimator={"bins": 4}, mean_rollouts=4, min_rollouts=2, max_rollouts=8, seed=3
    )


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
