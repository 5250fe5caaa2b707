"""The theory against brute force: the paper's entropic risk and gap, the best size of a group."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.core.adversaries import EmaHedge, Hedge, softmax
from gdro.core.errors import OptionError
from gdro.core.regret import RegretMeter
from gdro.core.theory import best_group_size, objective_slope, spread_variance

LOSSES = st.lists(st.floats(-50, 50), min_size=1, max_size=10)
ETA = st.floats(0.01, 50)


def entropic_risk(losses, eta):
    """R_eta = (1 / eta) log sum_b exp(eta L_b) (22) of finite losses (B,)."""
    bins = np.asarray(losses, np.float64)
    return bins.max() + math.log(np.exp(eta * (bins - bins.max())).sum()) / eta


def entropic_maximiser(losses, eta):
    """(B,) softmax(eta L), the maximiser of <q, L> + H(q) / eta (23, 24), and the gradient of R_eta
    in L (26)."""
    return softmax(eta * np.asarray(losses, np.float64))


def entropic_value(q, losses, eta):
    """<q, L> + H(q) / eta, what the adversary maximises."""
    used = q > 0.0
    return float(q @ np.asarray(losses)) - float(q[used] @ np.log(q[used])) / eta


@settings(max_examples=200)
@given(LOSSES, ETA)
def test_the_risk_lies_between_the_worst_bin_and_log_b_over_eta_above(losses, eta):
    risk = entropic_risk(losses, eta)
    assert max(losses) - 1e-9 <= risk <= max(losses) + math.log(len(losses)) / eta + 1e-9


@settings(max_examples=100)
@given(LOSSES, ETA, st.integers(0, 10**6))
def test_the_maximiser_attains_it_and_nothing_exceeds_it(losses, eta, seed):
    q, risk = entropic_maximiser(losses, eta), entropic_risk(losses, eta)
    assert entropic_value(q, losses, eta) == pytest.approx(risk, abs=1e-8)
    for other in np.random.default_rng(seed).dirichlet(np.ones(len(losses)), 50):
        assert entropic_value(other, losses, eta) <= risk + 1e-9


def test_the_gradient_is_the_weighted_sum_of_gradients():
    """Eq. 26 through a model: L_b(theta) = |theta - c_b|^2, against central differences."""
    rng = np.random.default_rng(0)
    centres, theta, eta = rng.normal(size=(4, 3)), rng.normal(size=3), 2.0

    def risk(at: np.ndarray) -> float:
        return entropic_risk(((at - centres) ** 2).sum(axis=1), eta)

    q = entropic_maximiser(((theta - centres) ** 2).sum(axis=1), eta)
    numeric = [(risk(theta + h) - risk(theta - h)) / 2e-6 for h in np.eye(3) * 1e-6]
    np.testing.assert_allclose(q @ (2 * (theta - centres)), numeric, atol=1e-7)


def test_the_ends_of_the_dial():
    losses = np.array([0.1, 0.9, 0.4])
    assert entropic_risk(losses, 1e4) == pytest.approx(0.9, abs=1e-3)
    assert entropic_risk(losses, 1e-6) - math.log(3) / 1e-6 == pytest.approx(
        losses.mean(), abs=1e-4
    )
    assert entropic_risk([1e300, -1e300], 1.0) == 1e300


def test_the_paper_s_learner_plays_the_maximiser():
    learner = EmaHedge(3, eta=2.0, gamma=0.0, beta=1.0)
    losses = np.array([0.1, 0.9, 0.4])
    learner.update(losses)
    np.testing.assert_allclose(learner.probabilities(), entropic_maximiser(losses, 2.0))


def test_the_gap_of_averaged_iterates_is_below_the_regrets_over_t():
    """Eq. 27 on the convex game min_theta max_b |theta - c_b|: gradient descent against Hedge, gap
    by grid search."""
    centres, theta, rounds = np.array([0.0, 0.3, 1.0]), 0.9, 400
    learner, meter = Hedge(3), RegretMeter(3)
    thetas, paid, qs = [], [], []
    for t in range(rounds):
        q, losses = learner.probabilities(), np.abs(theta - centres)
        thetas.append(theta)
        qs.append(q)
        paid.append(float(q @ losses))
        meter.record(q, losses)
        learner.update(losses)
        theta = float(
            np.clip(theta - 0.5 / math.sqrt(t + 1) * (q @ np.sign(theta - centres)), 0.0, 1.0)
        )
    grid = np.linspace(0, 1, 1001)
    all_losses = np.abs(grid[:, None] - centres)
    regret_policy = sum(paid) - (all_losses @ np.sum(qs, axis=0)).min()
    gap = np.abs(np.mean(thetas) - centres).max() - (all_losses @ np.mean(qs, axis=0)).min()
    assert 0.0 <= gap <= (regret_policy + meter.regret) / rounds + 1e-9
    assert gap < 0.1


def brute_slope(weights: list[float], p: float) -> float:
    """U'(p) of a softmax policy with one logit, by summing over all 2^n outcomes of a group."""
    n, slope = len(weights) + 1, 0.0
    for outcome in itertools.product((0, 1), repeat=n):
        c = sum(outcome)
        weight = weights[c - 1] if 0 < c < n else 0.0
        chance = p**c * (1 - p) ** (n - c)
        # score of one logit: r - p
        slope += chance * weight * sum((r - c / n) * (r - p) for r in outcome) / n
    return slope / (p * (1 - p))  # grad p = p (1 - p)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=7), st.floats(0.01, 0.99))
def test_the_objective_of_weights_by_count_is_the_bernstein_polynomial(weights, p):
    assert objective_slope(weights, [p])[0] == pytest.approx(brute_slope(weights, p), abs=1e-9)


def test_known_objectives():
    p, n = np.linspace(0.0, 1.0, 21), 6
    c = np.arange(1, n)
    np.testing.assert_allclose(objective_slope(np.ones(n - 1), p), (n - 1) / n)  # the mean reward
    for k in range(1, n):  # pass@k
        weights = [
            math.comb(n - 1 - i, k - 1) / math.comb(n - 2, k - 1) if k < n else 0.0 for i in c
        ]
        np.testing.assert_allclose(
            objective_slope(weights, p), (n - 1) / n * (1 - p) ** (k - 1), atol=1e-12
        )
    falling = objective_slope(np.exp(-0.5 * c), p)
    assert (np.diff(falling) < 0).all(), "falling weights give a falling slope"


@pytest.mark.parametrize(
    ("weights", "rates"),
    [([], [0.5]), ([math.nan], [0.5]), ([[1.0]], [0.5]), ([1.0], [1.5]), ([1.0], 0.5)],
)
def test_objective_slope_refuses_what_is_none(weights, rates):
    with pytest.raises(OptionError):
        objective_slope(weights, rates)


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
