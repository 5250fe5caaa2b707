"""The noise of a step by prompts x rollouts: against exact sums and against a model whose gradients
are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.core.errors import OptionError
from gdro.core.theory import best_group_size, spread_variance

positive = st.floats(0.01, 100.0)


def beta_binomial(right: int, rollouts: int, a: float, b: float) -> float:
    """Chance of `right` of `rollouts` when p ~ Beta(a, b)."""

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    return math.comb(rollouts, right) * math.exp(
        log_beta(a + right, b + rollouts - right) - log_beta(a, b)
    )


@given(positive, positive, st.integers(1, 8))
def test_the_price_of_the_baseline_is_exact(a, b, n):
    error = 0.0  # E[(r - m)^2], over the other rollouts and then over r
    for right in range(n):
        mean = (a + right) / (a + b + n - 1)
        error += beta_binomial(right, n - 1, a, b) * mean * (1.0 - mean)
    spread = a * b / ((a + b) * (a + b + 1.0))  # E[p (1 - p)]
    assert error == pytest.approx(spread * (spread_variance(n, 1.0, 0.0, a + b)), rel=1e-9)


@pytest.mark.parametrize(("n", "known"), [(1, 2.0), (2, 2.0), (4, 2.0), (8, 2.0)])
def test_a_step_has_that_variance(n, known):
    """Gradients (r - m) z + u_i: z the score's noise, u_i what all rollouts of prompt i share."""
    rng = np.random.default_rng(n)
    steps, total, between = 40_000, 16, 0.3
    p = rng.beta(known / 2, known / 2, (steps, total // n, 1))
    rewards = (rng.random((steps, total // n, n)) < p).astype(float)
    mean = (known / 2 + rewards.sum(axis=2, keepdims=True) - rewards) / (known + n - 1)
    shared = rng.normal(0.0, math.sqrt(between), (steps, total // n, 1))
    step = ((rewards - mean) * rng.normal(size=rewards.shape) + shared).mean(axis=(1, 2))
    within = known / 4 / (known + 1)  # E[p (1 - p)] of Beta(known / 2, known / 2), score variance 1
    assert step.var() == pytest.approx(spread_variance(n, within, between, known) / total, rel=0.03)


@given(positive, positive, st.floats(0.0, 20.0))
def test_the_best_size_is_the_best(within, between, known):
    best = best_group_size(within, between, known)
    assert best >= 1.0
    candidates = range(1, 120)
    found = min(candidates, key=lambda n: spread_variance(n, within, between, known))
    # V is convex in n, so the best whole number is next to the best real one
    assert abs(found - best) <= 1.0


def test_knowledge_stands_for_rollouts():
    assert best_group_size(9.0, 1.0) == 4.0
    assert best_group_size(9.0, 1.0, known=2.0) == 2.0
    assert best_group_size(9.0, 1.0, known=5.0) == 1.0
    assert spread_variance(1, 1.0, 1.0) == math.inf
    assert spread_variance(1, 0.0, 2.0) == 2.0
    assert best_group_size(1.0, 0.0) == math.inf
    assert best_group_size(0.0, 0.0) == 1.0


@pytest.mark.parametrize("wrong", [{"within": -1.0}, {"between": math.nan}, {"known": math.inf}])
def test_what_is_out_of_range_is_named(wrong):
    arguments = {"within": 1.0, "between": 1.0} | wrong
    with pytest.raises(OptionError, match=next(iter(wrong))):
        best_group_size(**arguments)
    with pytest.raises(OptionError, match=next(iter(wrong))):
        spread_variance(2, **arguments)


def test_a_group_has_a_rollout():
    with pytest.raises(OptionError, match="rollouts=0"):
        spread_variance(0, 1.0, 1.0)
