"""The plans of neyman, knapsack and vip are the best of all plans, by brute force; the control is
blind."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peer_worlds import rates, step

import gdro
from gdro.controllers.contrib.gains import knapsack_gains, rollout_variance
from gdro.core.belief import expected_variance
from gdro.core.budget import greedy_allocation

RATES = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=5)


def knapsack_value(n: np.ndarray, p: np.ndarray) -> float:
    return float(((1 - p**n - (1 - p) ** n) * p * (1 - p) ** 2).sum())


def plans(count: int, total: int, low: int, high: int):
    return (
        np.array(n)
        for n in itertools.product(range(low, high + 1), repeat=count)
        if sum(n) == total
    )


@settings(max_examples=150)
@given(RATES, st.integers(1, 3), st.integers(0, 3), st.data())
def test_knapsack_greedy_equals_brute_force(values, low, room, data):
    p, high = np.array(values), low + room
    spare = data.draw(st.integers(0, room * len(p)))
    chosen = low + greedy_allocation(
        knapsack_gains(p, low, high), spare, np.arange(len(p), dtype=np.uint64)
    )
    assert chosen.sum() == low * len(p) + spare
    assert low <= chosen.min() <= chosen.max() <= high
    best = max(knapsack_value(n, p) for n in plans(len(p), int(chosen.sum()), low, high))
    assert knapsack_value(chosen, p) == pytest.approx(best, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_knapsack_greedy_equals_the_dynamic_programme(seed):
    p = np.random.default_rng(seed).beta(0.5, 0.7, 40)
    low, high, total = 2, 12, 160
    chosen = low + greedy_allocation(
        knapsack_gains(p, low, high), total - low * 40, np.arange(40, dtype=np.uint64)
    )
    best = np.full(total + 1, -np.inf)
    best[0] = 0.0
    for rate in p:
        extended = np.full(total + 1, -np.inf)
        for n in range(low, high + 1):
            extended[n:] = np.maximum(
                extended[n:], best[: total + 1 - n] + knapsack_value(np.array(n), rate)
            )
        best = extended
    assert knapsack_value(chosen, p) == pytest.approx(best[total], rel=1e-12)


@given(st.floats(0.0, 1.0))
def test_knapsack_gains_are_the_differences_and_fall(p):
    n = np.arange(1, 30)
    gains = knapsack_gains(np.array([p]), 1, 30)[0]
    value = np.array([knapsack_value(np.array(k), np.array(p)) for k in range(1, 31)])
    assert gains == pytest.approx(np.diff(value), abs=1e-15)
    assert (np.diff(gains) <= 1e-18).all()
    assert len(gains) == len(n)


@settings(max_examples=150)
@given(st.integers(1, 6), st.integers(0, 4), st.booleans(), st.data())
def test_greedy_grants_the_first_gains_of_the_whole_order(count, arms, ties, data):
    """By falling gain, then by arm, then by key: the order is total, so every tie has one
    answer."""
    draw = st.integers(0, 2).map(float) if ties else st.floats(0.0, 1.0)
    rows = data.draw(
        st.lists(st.lists(draw, min_size=arms, max_size=arms), min_size=count, max_size=count)
    )
    gains = -np.sort(-np.array(rows).reshape(count, arms), axis=1)
    keys = np.array(data.draw(st.permutations(range(count))), np.uint64)
    spare = data.draw(st.integers(0, count * arms))
    order = sorted((-gains[i, arm], arm, keys[i], i) for i in range(count) for arm in range(arms))
    granted = np.bincount([entry[3] for entry in order[:spare]], minlength=count)
    assert greedy_allocation(gains, spare, keys).tolist() == granted.tolist()


@settings(max_examples=100)
@given(RATES, st.sampled_from([("rloo", 2), ("dr_grpo", 3)]), st.integers(1, 3), st.data())
def test_vip_greedy_equals_brute_force(values, form, room, data):
    estimator, low = form
    scale, high = np.array([4 * p * (1 - p) for p in values]), low + room
    gains = np.outer(scale, -np.diff(rollout_variance(np.arange(low, high + 1), estimator)))
    spare = data.draw(st.integers(0, room * len(scale)))
    chosen = low + greedy_allocation(gains, spare, np.arange(len(scale), dtype=np.uint64))

    def variance(n: np.ndarray) -> float:
        return float((scale * (1 / (n - 1) if estimator == "rloo" else (n - 1) / n**2)).sum())

    best = min(variance(n) for n in plans(len(scale), int(chosen.sum()), low, high))
    assert variance(chosen) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize(("estimator", "low"), [("rloo", 2), ("dr_grpo", 3)])
def test_vip_variance_is_convex_from_its_least_rollouts(estimator, low):
    variance = rollout_variance(np.arange(low, 200), estimator)
    assert (np.diff(variance) < 0).all()
    assert (np.diff(variance, 2) > 0).all()


@pytest.mark.parametrize(("estimator", "low"), [("rloo", 1), ("dr_grpo", 2)])
def test_vip_refuses_rollouts_where_its_variance_is_not_convex(estimator, low):
    with pytest.raises(gdro.OptionError, match="min_rollouts"):
        gdro.make_controller("vip", form=estimator, min_rollouts=low)


@pytest.mark.parametrize("estimator", ["rloo", "dr_grpo"])
def test_vip_variance_is_that_of_the_estimator(estimator):
    """Variance of the mean over n of the baselined reward times an independent unit direction,
    rewards of +-1."""
    p, n, rng = 0.3, 5, np.random.default_rng(0)
    rewards = np.where(rng.random((200_000, n)) < p, 1.0, -1.0)
    direction = rng.standard_normal(rewards.shape)
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    if estimator == "rloo":
        centred *= n / (n - 1)
    measured = (centred * direction).mean(axis=1).var()
    assert measured == pytest.approx(
        4 * p * (1 - p) * rollout_variance(np.array([n]), estimator)[0], rel=0.02
    )


def test_neyman_minimises_the_variance_of_the_batch():
    controller = gdro.make_controller("neyman", mean_rollouts=4, min_rollouts=1, max_rollouts=7)
    rng, rate = np.random.default_rng(1), {"a": 0.5, "b": 0.03, "c": 0.8, "d": 0.97}
    for _ in range(6):
        step(controller, list(rate), rate, rng)
    a, b = controller.belief(list(rate)).beta
    variance = expected_variance(a, b)
    plan = controller.plan(list(rate))
    best = min(float((variance / n).sum()) for n in plans(4, 16, 1, 7))
    assert float((variance / plan.rollouts).sum()) == pytest.approx(best, rel=1e-12)


def test_neyman_approaches_the_square_root_law():
    variance, total = np.array([0.05, 0.25, 0.15]), 40_000
    n = np.arange(1, 40_000)
    chosen = 1 + greedy_allocation(
        np.outer(variance, 1 / (n * (n + 1.0))), total - 3, np.arange(3, dtype=np.uint64)
    )
    assert chosen / total == pytest.approx(
        gdro.sqrt_law(np.full(3, 1 / 3), variance, 1 / 3) / 1.0, abs=1e-4
    )


def test_expected_variance_is_the_posterior_mean():
    draws = np.random.default_rng(0).beta(2.5, 4.0, 400_000)
    assert expected_variance(np.array([2.5]), np.array([4.0]))[0] == pytest.approx(
        (draws * (1 - draws)).mean(), rel=0.01
    )


def test_posterior_follows_its_recursion():
    controller = gdro.make_controller("neyman", decay=0.5, prior=1.0)
    for _ in range(2):
        plan = controller.plan(["x"])
        controller.observe(["x"], [[1.0, 1.0, 1.0, 0.0]])
    assert plan.rollouts.tolist() == [4]
    a, b = controller.belief(["x", "new"]).beta
    assert a.tolist() == [0.5 * (0.5 + 0.5 + 3) + 0.5 + 3, 1.0]
    assert b.tolist() == [0.5 * (0.5 + 0.5 + 1) + 0.5 + 1, 1.0]


@pytest.mark.parametrize("name", ["neyman", "knapsack", "vip", "random_ragged"])
def test_new_prompts_get_the_mean_and_the_total_is_exact(name):
    controller, rate, rng = gdro.make_controller(name), rates(40), np.random.default_rng(0)
    old, new = list(rate)[:25], list(rate)[25:]
    assert controller.plan(old).rollouts.tolist() == [4] * 25
    controller.cancel(controller.plan(old[::-1]))
    controller = gdro.make_controller(name)
    for _ in range(3):
        step(controller, old, rate, rng)
    plan = controller.plan(old + new)
    assert plan.total == 160
    assert plan.rollouts[25:].tolist() == [4] * 15
    assert len(set(plan.rollouts[:25].tolist())) > 1


def test_informed_plans_favour_uncertain_prompts_and_the_control_does_not():
    slope = {}
    for name in ("neyman", "knapsack", "vip", "random_ragged"):
        controller, rate, rng = (
            gdro.make_controller(name, seed=3),
            rates(60),
            np.random.default_rng(0),
        )
        ids = list(rate)
        variance = np.array([p * (1 - p) for p in rate.values()])
        seen = []
        for _ in range(40):
            plan = controller.plan(ids)
            seen.append(np.corrcoef(plan.rollouts, variance)[0, 1] if plan.rollouts.std() else 0.0)
            controller.observe(
                ids,
                [
                    (rng.random(n) < rate[i]).astype(float)
                    for i, n in zip(ids, plan.rollouts, strict=True)
                ],
            )
        slope[name] = float(np.mean(seen[5:]))
    assert slope["neyman"] > 0.5
    assert slope["vip"] > 0.5
    assert slope["knapsack"] > 0.3
    assert abs(slope["random_ragged"]) < 0.1
