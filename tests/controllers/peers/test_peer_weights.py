"""The weights of maxrl and daro do to the engine's advantages what their papers do to theirs."""

from __future__ import annotations

import numpy as np
import pytest
from peer_worlds import exact

import gdro

GROUPS = {
    "a": [1.0, 0.0, 0.0, 0.0],
    "b": [1.0, 1.0, 1.0, 0.0],
    "c": [0.0] * 4,
    "d": [1.0] * 4,
    "e": [1.0, 1.0, 0.0, 0.0],
}


@pytest.mark.parametrize(("advantage", "ddof"), [("grpo", 0), ("grpo", 1), ("dr_grpo", 0)])
def test_maxrl_weight_times_the_advantage_is_maxrls(advantage, ddof):
    controller = gdro.make_controller("maxrl", advantage=advantage, ddof=ddof)
    weights = exact(controller, GROUPS).weights
    advantages = gdro.group_advantages(
        list(GROUPS.values()), advantage, ddof=ddof, epsilon=0.0 if ddof else 1e-300
    )
    for weight, mine, rewards in zip(weights, advantages, GROUPS.values(), strict=True):
        mean = np.mean(rewards)
        expected = (np.array(rewards) - mean) / mean if 0 < mean < 1 else np.zeros(4)
        assert weight * mine == pytest.approx(expected, abs=1e-9)
    assert weights[2] == weights[3] == 1.0


def test_maxrl_weight_for_binary_rewards():
    weights = exact(gdro.make_controller("maxrl"), GROUPS).weights
    assert weights[0] == pytest.approx(np.sqrt(0.75 / 0.25))
    assert weights[1] == pytest.approx(np.sqrt(0.25 / 0.75))


def test_maxrl_does_not_depend_on_the_units_of_the_reward():
    signed = {i: [2 * r - 1 for r in rewards] for i, rewards in GROUPS.items()}
    mine = exact(gdro.make_controller("maxrl", reward_range=(-1.0, 1.0)), signed).weights
    assert mine == pytest.approx(exact(gdro.make_controller("maxrl"), GROUPS).weights)


@pytest.mark.parametrize("advantage", ["grpo", "dr_grpo"])
def test_daro_equalises_the_groups(advantage):
    groups = GROUPS | {
        "f": [0.0, 0.0, 1.0, 0.0],
        "g": [0.0, 1.0, 1.0, 1.0],
        "h": [0.0, 1.0, 1.0, 1.0],
    }
    weights = exact(gdro.make_controller("daro", advantage=advantage), groups).weights
    advantages = gdro.group_advantages(list(groups.values()), advantage, epsilon=1e-300)
    total: dict[float, float] = {}
    for weight, mine, rewards in zip(weights, advantages, groups.values(), strict=True):
        total[np.mean(rewards)] = total.get(np.mean(rewards), 0.0) + weight * float(
            np.abs(mine).sum()
        )
    live = [value for rate, value in total.items() if 0 < rate < 1]
    assert live == pytest.approx([live[0]] * 3)
    alive = [
        weight for weight, r in zip(weights, groups.values(), strict=True) if 0 < np.mean(r) < 1
    ]
    assert np.mean(alive) == pytest.approx(1.0)


def test_daro_is_the_minimum_of_its_objective():
    """w = 1 / L minimises sum_g w_g L_g - log w_g."""
    loss = np.array([0.3, 1.7, 0.05])
    best = float((1.0 - np.log(1 / loss)).sum())
    rng = np.random.default_rng(0)
    assert all(
        best <= float((w * loss - np.log(w)).sum()) + 1e-12 for w in rng.exponential(5, (1000, 3))
    )


@pytest.mark.parametrize("name", ["maxrl", "daro"])
def test_a_batch_without_gradient_weighs_one(name):
    weights = exact(gdro.make_controller(name), {"a": [0.0] * 4, "b": [1.0] * 4}).weights
    assert weights.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "options"),
    [("maxrl", {"advantage": "ppo"}), ("maxrl", {"ddof": 2}), ("daro", {"advantage": "x"})],
)
def test_unknown_options_are_refused(name, options):
    with pytest.raises(gdro.OptionError, match=next(iter(options))):
        gdro.make_controller(name, **options)
