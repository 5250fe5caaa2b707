"""The simulated population and the learner: their formulas against plain re-statements and against
sampling."""

from __future__ import annotations

import numpy as np
import pytest

import gdro
from gdro.lab.world import EPSILON, Learner, Learning, World, draw_population, group_signal

WORLD = World(prompts=300)


def test_rates_are_the_logistic_of_skill_less_difficulty():
    prompts = draw_population(WORLD, 50, 0, 0)
    theta = np.random.default_rng(0).normal(size=WORLD.dimensions)
    rows = np.array([3, 40])
    for rate, row in zip(prompts.rates(theta, rows), rows, strict=True):
        logit = float(prompts.features[row].astype(float) @ theta - prompts.difficulty[row])
        assert rate == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)


def test_a_population_is_a_function_of_its_seed():
    one, two = draw_population(WORLD, 200, 1, 0), draw_population(WORLD, 200, 1, 0)
    assert one.ids == two.ids
    assert (one.features == two.features).all()
    assert (one.difficulty == two.difficulty).all()
    other = draw_population(WORLD, 200, 1, 1)
    assert (one.difficulty != other.difficulty).any()


def test_held_out_prompts_have_the_families_levels():
    one, two = draw_population(WORLD, 6000, 4, 0), draw_population(WORLD, 6000, 4, 1)
    for family in range(WORLD.families):
        means = [
            p.difficulty[[i.startswith(f"family{family:02d}/") for i in p.ids]].mean()
            for p in (one, two)
        ]
        assert means[0] == pytest.approx(means[1], abs=0.5)


def test_difficulties_have_a_heavy_upper_tail():
    difficulty = draw_population(World(tail=3.0), 50_000, 0, 0).difficulty
    centred = difficulty - np.median(difficulty)
    assert np.quantile(centred, 0.999) > 1.5 * -np.quantile(centred, 0.001)


def test_the_shortcut_helps_easy_prompts_and_hurts_hard_ones():
    prompts = draw_population(WORLD, 500, 0, 0)
    last = prompts.features[:, -1]
    easy, hard = prompts.difficulty < WORLD.turn - 0.5, prompts.difficulty > WORLD.turn + 0.5
    assert (last[easy] > 0).all()
    assert (last[hard] < 0).all()


@pytest.mark.parametrize(("correct", "count"), [(0, 4), (4, 4), (1, 4), (3, 5), (6, 12)])
def test_group_signal_is_what_grpo_advantages_give(correct, count):
    rewards = np.array([1.0] * correct + [0.0] * (count - correct))
    advantages = gdro.group_advantages([rewards], epsilon=EPSILON)[0]
    signal, spread = group_signal(np.array([correct]), np.array([count]))
    for p in (0.1, 0.9):
        assert signal[0] == pytest.approx((advantages * (rewards - p)).mean(), abs=1e-12)
    assert spread[0] == pytest.approx((advantages**2).mean(), abs=1e-12)


def gradients(learning: Learning, counts, weights, correct, draws: int = 4000) -> np.ndarray:
    """First steps of fresh learners, undone of the division by their own length."""
    prompts = draw_population(WORLD, len(counts), 0, 0)
    rng, found = np.random.default_rng(0), []
    for _ in range(draws):
        learner = Learner(np.zeros(WORLD.dimensions), learning)
        learner.learn(prompts.features, correct, counts, weights, rng)
        found.append(learner.theta / learning.rate * np.sqrt(learner.scale / 0.05))
    return np.array(found)


@pytest.mark.parametrize("average", ["prompts", "rows"])
def test_signal_and_noise_of_a_step(average):
    counts, correct, weights = np.array([2, 12, 4]), np.array([1, 3, 4]), np.array([2.0, 0.5, 3.0])
    learning = Learning(noise=0.4, average=average)
    found = gradients(learning, counts, weights, correct)
    share = counts / 18 if average == "rows" else np.full(3, 1 / 3)
    rate = correct / counts
    std = np.sqrt(rate * (1 - rate))
    prompts = draw_population(WORLD, 3, 0, 0)
    assert found.mean(axis=0) == pytest.approx((share * weights * std) @ prompts.features, abs=0.01)
    live = std > 0
    # mean squared advantage of a live group: 1
    expected = 0.4**2 * ((share * weights) ** 2 / counts)[live].sum()
    assert found.var(axis=0).mean() == pytest.approx(expected, rel=0.03)


def test_dead_groups_teach_nothing():
    prompts = draw_population(WORLD, 2, 0, 0)
    learner = Learner(np.zeros(WORLD.dimensions), Learning())
    learner.learn(
        prompts.features, np.array([0, 4]), np.array([4, 4]), np.ones(2), np.random.default_rng(0)
    )
    assert (learner.theta == 0).all()


def test_the_scale_of_the_weights_does_not_matter():
    prompts, ends = draw_population(WORLD, 3, 0, 0), []
    for factor in (1.0, 1000.0):
        learner = Learner(np.zeros(WORLD.dimensions), Learning())
        for step in range(5):
            rng = np.random.default_rng(step)
            learner.learn(
                prompts.features,
                np.array([1, 2, 3]),
                np.full(3, 4),
                factor * np.array([1, 2, 3.0]),
                rng,
            )
        ends.append(learner.theta)
    assert ends[0] == pytest.approx(ends[1])


def test_skills_fade_to_where_they_began_and_drift():
    start = np.ones(WORLD.dimensions)
    learner = Learner(start + 1.0, Learning(forgetting=0.1))
    learner.rest(start, np.random.default_rng(0))
    assert learner.theta == pytest.approx(start + 0.9)
    learner.learning = Learning(forgetting=0.0, drift=0.5)
    steps = []
    for seed in range(200):
        before = learner.theta
        learner.rest(start, np.random.default_rng(seed))
        steps.append(learner.theta - before)
    assert np.std(steps) == pytest.approx(0.5, rel=0.05)
