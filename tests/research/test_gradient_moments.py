"""Gradient variances from a policy where they are known in closed form."""

from __future__ import annotations

import gradient_toy as toy
import numpy as np
import pytest

from gdro.core.advantages import ADVANTAGES
from gdro.core.errors import OptionError
from gradient_moments import (
    allocation_gains,
    group_variance,
    over_prompts,
    power_slope,
    rollout_variance,
    shrinkage,
)


def mean_and_error(values):
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1) / np.sqrt(len(values))


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_variance_of_a_rollout_is_unbiased(p):
    rng = np.random.default_rng(3)
    found = []
    for _ in range(4000):
        rewards = (rng.random(6) < p).astype(float)
        found.append(rollout_variance(toy.gram(rewards, p), rewards, p))
    mean, error = mean_and_error(found)
    truth = 2 * p * (1 - p) * (1 - 4 * p * (1 - p))  # 0 at p = 1/2, where p (1 - p) is largest
    assert abs(mean - truth) < 4 * error + 1e-12


@pytest.mark.parametrize("kind", ADVANTAGES)
@pytest.mark.parametrize("p", [0.1, 0.4])
def test_variance_of_a_group_is_unbiased_for_every_size_and_advantage(kind, p):
    rng = np.random.default_rng(5)
    sizes, found = (2, 3, 5), []
    for pool in range(1500):
        rewards = (rng.random(12) < p).astype(float)
        found.append(
            group_variance(toy.gram(rewards, p), rewards, sizes, kind, clip=5.0, draws=4, seed=pool)
        )
    mean, error = mean_and_error(found)
    truth = np.array([toy.group_moments(p, n, kind)[1] for n in sizes])
    assert (np.abs(mean - truth) < 4 * error + 1e-12).all()


def test_group_variance_is_the_same_for_the_same_seed():
    rewards = (np.random.default_rng(0).random(16) < 0.4).astype(float)
    first, again, other = (
        group_variance(toy.gram(rewards, 0.4), rewards, [4], "grpo", draws=5, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_equal_rewards_have_no_variance():
    assert group_variance(np.eye(8), np.ones(8), [2, 4], "grpo").tolist() == [0.0, 0.0]


def test_too_few_rollouts_are_refused():
    with pytest.raises(OptionError, match="need 10 rollouts a prompt, got 8"):
        group_variance(np.eye(8), np.arange(8.0), [2, 5], "rloo")


@pytest.mark.parametrize("kind", ADVANTAGES)
@pytest.mark.parametrize("ddof", [0, 1])
def test_shrinkage_is_the_mean_gradient_over_the_true_one(kind, ddof):
    for p in (0.05, 0.5, 0.8):
        for n in (2, 4, 12):
            true = np.sqrt(2.0) * p * (1 - p)
            mean = toy.group_moments(p, n, kind, ddof)[0]
            # epsilon beside the std
            assert shrinkage(p, n, kind, ddof) == pytest.approx(mean / true, rel=1e-3)


def test_shrinkage_of_grpo_at_its_ends():
    assert shrinkage(1e-9, 12, "grpo") == pytest.approx(np.sqrt(11))
    assert shrinkage(0.3, 400, "grpo") == pytest.approx(1 / np.sqrt(0.21), rel=1e-2)


def test_the_law_is_best_when_its_model_holds():
    v = np.array([0.05, 0.25, 0.15, 0.0])
    law, best = allocation_gains(v, 3.0 * v)
    assert law == pytest.approx(best)
    assert best == pytest.approx(np.sqrt(v).mean() ** 2 / v.mean())


def test_the_law_by_a_wrong_model_can_cost_more_than_equal_rollouts():
    law, best = allocation_gains(np.array([1.0, 0.01]), np.array([0.01, 1.0]))
    assert law > 1.0 > best


def test_slope_of_a_power_law():
    m = np.array([0.01, 0.05, 0.1, 0.2, 0.25])
    assert power_slope(m, 7.0 * m**0.5) == pytest.approx(0.5)
    noisy = 7.0 * m**1.3 * np.array([0.9, 1.1, 0.95, 1.05, 1.0])
    assert power_slope(m, noisy) == pytest.approx(1.3, abs=0.15)
    assert np.isnan(power_slope(np.full(5, 0.1), m))


def test_bootstrap_over_prompts_holds_the_mean_and_its_error():
    values = np.random.default_rng(1).normal(2.0, 1.0, 400)
    found = over_prompts(lambda rows: float(values[rows].mean()), 400, seed=0)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert found == over_prompts(lambda rows: float(values[rows].mean()), 400, seed=0)
