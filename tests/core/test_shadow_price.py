"""The compute adversary: it finds the square-root law, its price settles, and it learns from losses
alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gdro
from gdro.core.budget import exact_budget, sqrt_law
from gdro.core.errors import OptionError
from gdro.core.shadow_price import RolloutGame

SHARE, VARIANCE = np.array([0.5, 0.3, 0.2]), np.array([0.05, 0.25, 0.15])
EDGES = np.array([0.0, 1 / 3, 2 / 3, 1.0])


def known(mean: int, low: int, high: int) -> RolloutGame:
    game = RolloutGame(EDGES, mean, low, high)
    game.variance = VARIANCE.copy()
    return game


@pytest.mark.parametrize(
    ("mean", "low", "high"), [(4, 1, 12), (4, 2, 12), (8, 2, 24), (16, 2, 48), (64, 2, 192)]
)
def test_arms_and_price_find_the_square_root_law(mean, low, high):
    """Oracle 1, at every mean: within 4 % of the law in each bin (the arms' smoothing), noise
    within 0.1 % of its."""
    (found, price), law = known(mean, low, high).demand(SHARE), sqrt_law(SHARE, VARIANCE, mean)
    assert SHARE @ found == pytest.approx(mean, rel=1e-6)
    assert price > 0.0
    np.testing.assert_allclose(found, law, rtol=0.04)
    assert SHARE @ (VARIANCE / found) <= 1.001 * (SHARE @ (VARIANCE / law))


@given(
    st.lists(
        st.tuples(st.one_of(st.just(0.0), st.floats(1e-6, 1.0)), st.floats(0.0, 0.25)),
        min_size=1,
        max_size=12,
    ),
    st.integers(2, 16),
    st.integers(0, 3),
    st.floats(0.5, 30.0),
)
def test_the_price_clears_whatever_the_profile(profile, mean, spare, eta):
    """The demand is the budget wherever mixing lets it be; on a bound it is the nearest that any
    price gives."""
    share, variance = (np.array(column) for column in zip(*profile, strict=True))
    if share.sum() == 0.0:
        share = share + 1.0
    game = RolloutGame(
        np.linspace(0.0, 1.0, len(share) + 1), mean, max(1, mean - spare), mean + spare, arm_eta=eta
    )
    game.variance = variance
    demand, _ = game.demand(share)
    mixing = game.arm_gamma * (game.arms[-1] - game.arms[0])
    assert float(share @ demand) / float(share.sum()) == pytest.approx(mean, rel=1e-5, abs=mixing)


PROFILES = {
    "solved but 5 %": np.r_[np.full(57, 1.0), np.full(3, 0.5)],
    "solved but a hard 5 %": np.r_[np.full(57, 0.999), np.full(3, 0.1)],
    "hopeless, solved, and a third live": np.r_[np.zeros(30), np.full(10, 1.0), np.full(20, 0.3)],
    "even": np.linspace(0.02, 0.98, 60),
}


def noise(name: str, rates: np.ndarray, mean: int, delay: int, **options) -> tuple[float, float]:
    """Variance of the weighted mean reward, and the mean change of the plan from step to step, once
    settled."""
    least = 1 if mean == 2 else 2
    controller = gdro.make_controller(name, mean_rollouts=mean, min_rollouts=least, **options)
    rng, ids, waiting, found, live = (
        np.random.default_rng(0),
        [f"s/{i}" for i in range(len(rates))],
        [],
        [],
        [],
    )
    weights = np.exp(3.0 * (1.0 - rates)) if name == "joint" else np.ones(len(rates))
    for step in range(70 + delay):
        plan = controller.plan(ids)
        waiting.append(plan)
        if len(waiting) > delay:
            answered = waiting.pop(0).rollouts
            rewards = [
                (rng.random(n) < p).astype(float) for n, p in zip(answered, rates, strict=True)
            ]
            controller.observe(ids, rewards)
        if step >= 35 + delay:
            found.append((weights**2 * rates * (1.0 - rates) / plan.rollouts).sum())
            live.append(plan.rollouts[np.argmax(rates * (1.0 - rates))])
    return float(np.mean(found)), float(np.abs(np.diff(live)).mean() / mean)


@pytest.mark.parametrize("delay", [0, 8])
@pytest.mark.parametrize("mean", [2, 4, 16])
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", ["rollout_gdro", "joint"])
def test_on_heavy_tails_the_plan_is_the_laws_and_does_not_cycle(name, profile, mean, delay):
    """With a fixed step the live bin swung between 9 and 12, 9 and 24, 18 and 48; noise +13 to +35
    %."""
    ours, swing = noise(name, PROFILES[profile], mean, delay)
    law, laws_swing = noise(name, PROFILES[profile], mean, delay, allocator="sqrt_law")
    assert ours <= 1.06 * law
    assert swing <= laws_swing + 0.25


@pytest.mark.parametrize("name", ["rollout_gdro", "sqrt_law"])
def test_one_rollout_a_prompt_is_no_trap(name):
    """Fifty prompts that nobody solves fall to one rollout; when they come into reach they get the
    law's again."""
    controller, rng = gdro.make_controller(name, bins=3, min_rollouts=1), np.random.default_rng(0)
    ids, given = [f"s/{i}" for i in range(100)], []
    for step in range(160):
        rates = np.r_[np.full(50, 0.0 if step < 40 else 0.2), np.full(50, 0.5)]
        plan = controller.plan(ids)
        controller.observe(
            ids,
            [(rng.random(n) < p).astype(float) for n, p in zip(plan.rollouts, rates, strict=True)],
        )
        given.append(plan.rollouts[:50].mean())
    assert given[39] < 2.5
    assert np.mean(given[80:]) == pytest.approx(3.56, abs=0.6)


def test_the_whole_controller_finds_the_law_from_rewards():
    """Estimated variances, hashed rounding, exact budgets, at pass rates whose p(1-p) is .05, .25,
    .15.

    Whole rollouts cannot follow the law to the digit; what counts is the noise, within 1.5 % of the
    law's.
    """
    rng = np.random.default_rng(0)
    controller = gdro.make_controller(
        "rollout_gdro",
        bins=3,
        min_rollouts=1,
        max_rollouts=16,
        arm_ema=0.05,
        estimator={"discount": 1.0},
    )
    ids = [f"p{i}" for i in range(200)]
    rates = np.repeat([0.0528, 0.5, 0.8162], [100, 60, 40])
    noise, demand = [], []
    for step in range(120):
        plan = controller.plan(ids)
        assert plan.total == 800
        rewards = [
            (rng.random(n) < p).astype(float) for n, p in zip(plan.rollouts, rates, strict=True)
        ]
        controller.observe(ids, rewards)
        if step >= 60:
            noise.append((rates * (1 - rates) / plan.rollouts).mean())
            demand.append(controller.metrics()["demand"])
    law = sqrt_law(SHARE, VARIANCE, 4)
    np.testing.assert_allclose(np.mean(demand, axis=0), law, rtol=0.06)
    assert np.mean(noise) <= 1.015 * (SHARE @ (VARIANCE / law))


def test_the_papers_step_is_divided_by_the_plans_on_their_way():
    moved = []
    for waiting in (0, 3):
        game = RolloutGame(EDGES, 8, 2, 24, "surrogate", price_step=0.1)
        game.move_price(12.0, waiting)
        moved.append(game.price)
    assert moved == pytest.approx([0.1 * (4 / 8) ** 2 * 4.0, 0.1 * (4 / 8) ** 2 * 4.0 / 4])


def test_the_price_rises_with_excess_demand_and_falls_without():
    game = RolloutGame(EDGES, 4, 2, 12, "surrogate")
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
    """Only bin 1 earns from rollouts. It ends with more of them than the others, and its good arms
    are played more."""
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
        rewards = [
            (rng.random(n) < p).astype(float) for n, p in zip(plan.rollouts, rates, strict=True)
        ]
        controller.observe(ids, rewards)
        earned = np.where(rates == 0.5, np.sqrt(plan.rollouts), 0.0)
        controller.observe_losses(ids, -earned + 0.05 * rng.normal(size=90))
        played.append(
            [plan.rollouts[:30].mean(), plan.rollouts[30:60].mean(), plan.rollouts[60:].mean()]
        )
    late = np.mean(played[150:], axis=0)
    assert late[1] > 5.5 > 3.5 > max(late[0], late[2])
    game = controller.parts.allocator.game
    chances = game.arm_probabilities(game.arm_utilities(np.ones(3) / 3), game.price)
    assert chances[1, 4:7].sum() > 3.0 * chances[1, 0]
    assert (game.arm_utility != 0.0).sum() >= 15  # arms are really tried


def test_rollouts_that_are_no_arm_say_nothing_of_one():
    """Of an amended plan: fewer than the lowest arm, since some were lost, or more than the
    highest, since they came in rounds."""
    game = RolloutGame(EDGES, 4, 2, 6, "surrogate", arm_ema=1.0)
    bins, counts = np.array([0, 0, 1, 2, -1]), np.array([1, 14, 4, 2, 1])
    game.observe_losses(bins, counts, np.array([5.0, 5.0, -1.0, -2.0, 5.0]))
    learned = np.zeros((3, 5))
    learned[1, 2], learned[2, 0] = 1.0, 2.0
    np.testing.assert_array_equal(game.arm_utility, learned)


def test_a_bandit_over_arms_plays_the_arm_that_earns_most():
    """One bin, no binding budget: the draws concentrate on the best arm."""
    game = RolloutGame(np.array([0.0, 1.0]), 4, 2, 12, "surrogate", arm_eta=8.0, price_step=1e-9)
    gains, share, counts = -((np.arange(2, 13) - 9.0) ** 2) / 10.0, np.ones(1), np.zeros(11, int)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        arm = int(game.draw(share, rng.random(1))[0])
        counts[arm - 2] += 1
        game.observe_losses(
            np.array([0]), np.array([arm]), -np.array([gains[arm - 2]]) + 0.1 * rng.normal(size=1)
        )
    assert counts.argmax() == 7
    assert counts[6:9].sum() > 0.9 * 2000


def test_draws_follow_the_arms_probabilities():
    game = RolloutGame(EDGES, 4, 2, 12, "surrogate", arm_eta=1.0)
    game.arm_utility = np.random.default_rng(0).normal(size=(3, 11))
    points = np.random.default_rng(1).random((20_000, 3))
    draws = np.array([game.draw(SHARE, row) for row in points])
    chances = game.arm_probabilities(game.arm_utilities(SHARE), game.price)
    for b in range(3):
        np.testing.assert_allclose(
            np.bincount(draws[:, b].astype(int) - 2, minlength=11) / 20_000, chances[b], atol=0.015
        )
    assert game.draw(SHARE, np.full(3, np.nextafter(1.0, 0.0))).max() <= 12


def test_heavier_gradients_ask_for_more_rollouts():
    game = known(4, 1, 16)
    plain, coupled = game.demand(SHARE)[0], game.demand(SHARE, np.array([1.0, 1.0, 2.0]))[0]
    assert coupled[2] / coupled[1] > 1.6 * plain[2] / plain[1]


@pytest.mark.parametrize(
    "variance", [[0.0, 0.0, 0.0], [1e-310, 0.25, 0.0], [5e-324, 1e308, 1.0], [0.0, 0.25, 0.0]]
)
def test_degenerate_variances_give_usable_demands(variance):
    game = RolloutGame(EDGES, 4, 2, 12)
    game.variance = np.array(variance)
    for share in (SHARE, np.array([1.0, 0.0, 0.0]), np.zeros(3)):
        demand, _ = game.demand(share)
        assert np.isfinite(demand).all()
        assert exact_budget(demand, 12, 2, 12).sum() == 12


def test_variance_is_pooled_and_what_single_rollouts_hide_is_expected():
    game = RolloutGame(EDGES, 4, 2, 12, arm_ema=1.0)
    before = game.variance.copy()
    rates = np.array([0.5, 0.5, np.nan, 0.2])
    game.observe_variance(
        np.array([0, 0, -1, 2]), np.array([1.0, 0.5, 9.0, 0.0]), np.array([4, 2, 4, 1]), rates
    )
    np.testing.assert_allclose(
        game.variance, [1.5 / 4, before[1], 0.2 * 0.8], err_msg="a single rollout shows none"
    )


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
