"""pass@k: exact against binomials, unbiased in simulation, stable for large n; bootstrap intervals
that cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gdro.core.errors import OptionError, RewardError
from gdro.core.passk import bootstrap, by_group, mean_at_k, pass_at_k, worst_group


def test_exact_for_every_small_case():
    for n in range(1, 13):
        for k in range(1, n + 1):
            found = pass_at_k(np.full(n + 1, n), np.arange(n + 1), k)
            exact = [1 - math.comb(n - c, k) / math.comb(n, k) for c in range(n + 1)]
            np.testing.assert_allclose(found, exact, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("n", [1, 3, 8, 20])
def test_oracle_5_unbiased_for_every_n_at_least_k(n):
    """Not simulated but summed: E over c ~ Binomial(n, p) of the estimate is 1 - (1-p)^k, to
    rounding."""
    for p in (0.01, 0.3, 0.9):
        chances = np.array([math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)])
        for k in range(1, n + 1):
            expected = chances @ pass_at_k(np.full(n + 1, n), np.arange(n + 1), k)
            assert expected == pytest.approx(1 - (1 - p) ** k, rel=1e-12)


def test_oracle_5_in_simulation():
    c = np.random.default_rng(0).binomial(16, 0.1, size=40_000)
    found = pass_at_k(16, c, 8)
    assert found.mean() == pytest.approx(1 - 0.9**8, abs=4 * found.std() / 200)


def test_stable_for_a_million_rollouts():
    n = 10**6
    assert pass_at_k(n, 1, 8) == pytest.approx(8 / n, rel=1e-12)
    assert pass_at_k(n, n // 2, 8) == pytest.approx(1 - 0.5**8, rel=1e-4)
    exact = 1 - math.comb(n - 3, 500) / math.comb(n, 500)
    assert pass_at_k(n, 3, 500) == pytest.approx(exact, rel=1e-10)
    assert pass_at_k(n, n - 7, 8) == 1.0
    assert pass_at_k(n, 0, n) == 0.0


def test_mean_is_pass_at_one():
    np.testing.assert_array_equal(mean_at_k([4, 8], [1, 8]), [0.25, 1.0])


@pytest.mark.parametrize(
    ("n", "c", "k"),
    [(4, 1, 5), (4, 5, 2), (4, -1, 2), (4, 1, 0), (4, math.nan, 2), (4.5, 1, 2), (0, 0, 1)],
)
def test_impossible_counts_are_an_error(n, c, k):
    with pytest.raises(RewardError):
        pass_at_k(n, c, k)


def test_bootstrap_covers():
    """95 % intervals of the mean of 60 prompts: true mean inside in 95 % of 400 samples, give or
    take 3.5 %."""
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(400):
        interval = bootstrap(rng.beta(0.5, 1.0, 60), resamples=400, seed=seed)
        inside += interval.low <= 1 / 3 <= interval.high
    assert 0.915 <= inside / 400 <= 0.985


def test_bootstrap_is_seeded_and_takes_many_prompts_in_little_memory():
    values = np.random.default_rng(0).random(300_000)
    first = bootstrap(values, resamples=20, seed=3)
    assert (
        first == bootstrap(values, resamples=20, seed=3) != bootstrap(values, resamples=20, seed=4)
    )
    assert first.low < first.value < first.high
    assert bootstrap([0.5]).low == bootstrap([0.5]).high == 0.5
    assert math.isnan(bootstrap([]).value)
    with pytest.raises(RewardError):
        bootstrap([0.1, math.nan])
    for option in ({"resamples": 0}, {"level": 1.0}):
        with pytest.raises(OptionError):
            bootstrap([0.1], **option)


def test_groups_and_the_worst_of_them():
    groups = by_group([1.0, 0.0, 0.5, 0.0], ["a", "b", "a", "b"])
    assert list(groups) == ["a", "b"]
    assert worst_group(groups)[0] == "b"
    assert groups["a"].value == 0.75
    assert groups["a"].prompts == 2
    for call in (lambda: worst_group({}), lambda: by_group([1.0], ["a", "b"])):
        with pytest.raises(RewardError):
            call()
