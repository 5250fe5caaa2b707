"""The compute adversary: it finds the square-root law, its price settles, and it learns from losses alone."""

from __future__ import annotations

import numpy as np
import pytest

import gdro
from gdro.core.budget import exact_budget, sqrt_law
from gdro.core.errors import OptionError
from gdro.core.shadow_price import RolloutGame

SHARE, VARIANCE = np.array([0.5, 0.3, 0.2]), np.array([0.05, 0.25, 0.15])
EDGES = np.array([0.0, 1 / 3, 2 / 3, 1.0])


def settle(mean: int, low: int, high: int, steps: int = 300) -> tuple[RolloutGame, list[float]]:
    game = RolloutGame(EDGES, mean, low, high)
    game.variance = VARIANCE.copy()
    demands = []
    for _ in range(steps):
        demands.append(float(SHARE @ game.demand(SHARE)))
        game.move_price(demands[-1])
    return game, demands


@pytest.mark.parametrize(("mean", "low", "high"), [(4, 1, 12), (4, 2, 12), (8, 2, 24), (16, 2, 48), (64, 2, 192)])
def test_arms_and_price_converge_to_the_square_root_law(mean, low, high):
    """Oracle 1, at every mean: within 4 % of the law in each bin (the arms' smoothing), noise within 0.1 % of its."""
    game, demands = settle(mean, low, high)
    law, found = sqrt_law(SHARE, VARIANCE, mean), game.demand(SHARE)
    assert demands[-1] == pytest.approx(mean, rel=1e-6)
    np.testing.assert_allclose(found, law, rtol=0.04)
    assert SHARE @ (VARIANCE / found) <= 1.001 * (SHARE @ (VARIANCE / law))


def test_the_whole_controller_finds_the_law_from_rewards():
    """Estimated variances, hashed rounding, exact budgets, at pass rates whose p(1-p) is .05, .25, .15.

    Whole rollouts cannot follow the law to the digit; what counts is the noise, within 1.5 % of the law's.
    """
    rng = np.random.default_rng(0)
    controller = gdro.make_controller(
        "rollout_gdro", bins=3, min_rollouts=1, max_rollouts=16, arm_ema=0.05, estimator={"discount": 1.0}
    )
    ids = [f"p{i}" for i in range(200)]
    rates = np.repeat([0.0528, 0.5, 0.8162], [100, 60, 40])
    noise, demand = [], []
    for step in range(120):
        plan = controller.plan(ids)
        assert plan.total == 800
        rewards = [(rng.random(n) < p).astype(float) for n, p in zip(plan.rollouts, rates, strict=True)]
        controller.observe(ids, rewards)
        if step >= 60:
            noise.append((rates * (1 - rates) / plan.rollouts).mean())
            demand.append(controller.metrics()["demand"])
    law = sqrt_law(SHARE, VARIANCE, 4)
    np.testing.assert_allclose(np.mean(demand, axis=0), law, rtol=0.06)
    assert np.mean(noise) <= 1.015 * (SHARE @ (VARIANCE / law))


def late(mean: int, delay: int, outstanding: int, steps: int = 600) -> float:
    """Largest relative error of the demand over the last 100 steps, when it comes back `delay` steps late."""
    game = RolloutGame(EDGES, mean, 2, 3 * mean)
    game.variance = VARIANCE.copy()
    game.price *= 1.5
    waiting, errors = [], []
    for _ in range(steps):
        waiting.append(float(SHARE @ game.demand(SHARE)))
        errors.append(abs(waiting[-1] / mean - 1.0))
        if len(waiting) > delay:
            game.move_price(waiting.pop(0), outstanding)
    return max(errors[-100:])


@pytest.mark.parametrize("mean", [4, 16, 64])
@pytest.mark.parametrize("delay", [0, 1, 4, 8, 16])
def test_the_price_settles_however_late_the_demand(mean, delay):
    assert late(mean, delay, outstanding=delay) < 1e-6


def test_without_the_delay_in_its_step_the_price_would_swing():
    assert late(4, 8, outstanding=0) > 0.2


def test_a_controller_divides_its_step_by_the_plans_on_their_way():
    ids = [f"p/{i}" for i in range(8)]
    rewards = [[1.0, 1.0, 1.0, 0.0]] * 4 + [[1.0, 0.0, 0.0, 0.0]] * 4

    def moved(more: int) -> float:
        controller = gdro.make_controller("rollout_gdro", min_rollouts=1)
        for _ in range(3):
            controller.observe(
                ids, [np.resize(r, n) for r, n in zip(rewards, controller.plan(ids).rollouts, strict=True)]
            )
        plan = controller.plan(ids)
        for _ in range(more):
            controller.plan(ids)
        before = controller.parts.allocator.game.price
        controller.observe(ids, [np.resize(r, n) for r, n in zip(rewards, plan.rollouts, strict=True)])
        return controller.parts.allocator.game.price - before

    assert moved(0) != 0.0
    assert moved(3) == pytest.approx(moved(0) / 4)


def test_the_price_rises_with_excess_demand_and_falls_without():
    game = RolloutGame(EDGES, 4, 2, 12)
    start = game.price
    game.move_price(6.0)
    assert game.price > start
    game.move_price(2.0)
    game.move_price(2.0)
    assert game.price < start
    for _ in range(10_000):
        game.move_price(12.0)
    assert game.price == game.price_limit


def test_a_learner_over_arms_learns_from_losses():
    """Only bin 1 earns from rollouts. It ends with more of them than the others, and its good arms are played more."""
    rng = np.random.default_rng(1)
    controller = gdro.make_controller(
        "rollout_gdro",
        bins=3,
        utility="surrogate",
        arm_eta=4.0,
        estimator={"hysteresis": 0.0, "discount": 1.0},
    )
    ids = [f"p{i}" for i in range(90)]
    rates = np.repeat([0.05, 0.5, 0.95], 30)
    played = []
    for _ in range(300):
        plan = controller.plan(ids)
        assert plan.total == 360
        rewards = [(rng.random(n) < p).astype(float) for n, p in zip(plan.rollouts, rates, strict=True)]
        controller.observe(ids, rewards)
        earned = np.where(rates == 0.5, np.sqrt(plan.rollouts), 0.0)
        controller.observe_losses(ids, -earned + 0.05 * rng.normal(size=90))
        played.append([plan.rollouts[:30].mean(), plan.rollouts[30:60].mean(), plan.rollouts[60:].mean()])
    late = np.mean(played[150:], axis=0)
    assert late[1] > 5.5 > 3.5 > max(late[0], late[2])
    game = controller.parts.allocator.game
    chances = game.arm_probabilities(game.arm_losses(np.ones(3) / 3))
    assert chances[1, 4:7].sum() > 3.0 * chances[1, 0]
    assert (game.arm_utility != 0.0).sum() >= 15  # arms are really tried


def test_a_bandit_over_arms_plays_the_arm_that_earns_most():
    """One bin, no binding budget: the draws concentrate on the best arm."""
    game = RolloutGame(np.array([0.0, 1.0]), 4, 2, 12, "surrogate", arm_eta=8.0, price_step=1e-9)
    gains, share, counts = -((np.arange(2, 13) - 9.0) ** 2) / 10.0, np.ones(1), np.zeros(11, int)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        arm = int(game.draw(share, rng.random(1))[0])
        counts[arm - 2] += 1
        game.observe_losses(np.array([0]), np.array([arm]), -np.array([gains[arm - 2]]) + 0.1 * rng.normal(size=1))
    assert counts.argmax() == 7
    assert counts[6:9].sum() > 0.9 * 2000


def test_draws_follow_the_arms_probabilities():
    game = RolloutGame(EDGES, 4, 2, 12, "surrogate", arm_eta=1.0)
    game.arm_utility = np.random.default_rng(0).normal(size=(3, 11))
    points = np.random.default_rng(1).random((20_000, 3))
    draws = np.array([game.draw(SHARE, row) for row in points])
    chances = game.arm_probabilities(game.arm_losses(SHARE))
    for b in range(3):
        np.testing.assert_allclose(
            np.bincount(draws[:, b].astype(int) - 2, minlength=11) / 20_000, chances[b], atol=0.015
        )
    assert game.draw(SHARE, np.full(3, np.nextafter(1.0, 0.0))).max() <= 12


def test_heavier_gradients_ask_for_more_rollouts():
    game, _ = settle(4, 1, 16)
    plain, coupled = game.demand(SHARE), game.demand(SHARE, np.array([1.0, 1.0, 2.0]))
    assert coupled[2] / coupled[1] > 1.6 * plain[2] / plain[1]


@pytest.mark.parametrize("variance", [[0.0, 0.0, 0.0], [1e-310, 0.25, 0.0], [5e-324, 1e308, 1.0], [0.0, 0.25, 0.0]])
def test_degenerate_variances_give_usable_demands(variance):
    game = RolloutGame(EDGES, 4, 2, 12)
    game.variance = np.array(variance)
    for share in (SHARE, np.array([1.0, 0.0, 0.0]), np.zeros(3)):
        demand = game.demand(share)
        assert np.isfinite(demand).all()
        assert exact_budget(demand, 12, 2, 12).sum() == 12


def test_variance_is_pooled_over_rollouts_and_unseen_prompts_are_left_out():
    game = RolloutGame(EDGES, 4, 2, 12, arm_ema=1.0)
    before = game.variance.copy()
    game.observe_variance(np.array([0, 0, -1, 2]), np.array([1.0, 0.5, 9.0, 0.0]), np.array([4, 2, 4, 1]))
    np.testing.assert_allclose(game.variance, [1.5 / 4, before[1], before[2]])


@pytest.mark.parametrize(
    "option",
    [
        {"utility": "x"},
        {"arm_gamma": 1.1},
        {"arm_ema": -0.1},
        {"arm_eta": 0.0},
        {"price_step": np.inf},
        {"price_limit": -1},
    ],
)
def test_options_out_of_range_are_named(option):
    with pytest.raises(OptionError, match=next(iter(option))):
        RolloutGame(EDGES, 4, 2, 12, **option)
