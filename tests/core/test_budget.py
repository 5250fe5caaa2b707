"""Exact budgets: totals, bounds, fairness, optimality against brute force, and named errors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.core.budget import exact_budget, project, sqrt_law
from gdro.core.errors import BudgetError

DEMANDS = st.one_of(
    st.floats(0.0, 100.0),
    st.sampled_from([0.0, 1e-308, 5e-324, 1e-200, 1.0, 1e150, 1e308, 1.7e308]),
)


@st.composite
def feasible(draw: st.DrawFn, most: int = 40) -> tuple[np.ndarray, int, int, int]:
    demand = np.array(draw(st.lists(DEMANDS, min_size=1, max_size=most)))
    low = draw(st.integers(0, 5))
    high = draw(st.integers(low, low + 20))
    total = draw(st.integers(low * len(demand), high * len(demand)))
    return demand, total, low, high


@settings(max_examples=200)
@given(feasible())
def test_total_and_bounds_are_exact_and_equal_demands_differ_by_at_most_one(case):
    demand, total, low, high = case
    plan = exact_budget(demand, total, low, high)
    assert plan.sum() == total
    assert plan.min() >= low
    assert plan.max() <= high
    for value in np.unique(demand):
        assert np.ptp(plan[demand == value]) <= 1


@settings(max_examples=200)
@given(feasible(), st.randoms(use_true_random=False))
def test_permuting_the_batch_permutes_the_plan_when_prompts_have_keys(case, random):
    demand, total, low, high = case
    keys = np.array([random.getrandbits(64) for _ in demand], np.uint64)
    order = list(range(len(demand)))
    random.shuffle(order)
    plan = exact_budget(demand, total, low, high, keys)
    np.testing.assert_array_equal(
        exact_budget(demand[order], total, low, high, keys[order]), plan[order]
    )


@settings(max_examples=150)
@given(feasible(most=5))
def test_rounding_is_the_nearest_whole_plan(case):
    demand, total, low, high = case
    high = min(high, low + 6)
    total = min(total, high * len(demand))
    x = project(demand, total, low, high)
    plan = exact_budget(demand, total, low, high)
    candidates = np.array(
        [n for n in itertools.product(range(low, high + 1), repeat=len(demand)) if sum(n) == total],
        float,
    )
    best = ((candidates - x) ** 2).sum(axis=1).min()
    assert ((plan - x) ** 2).sum() <= best + 1e-9


@settings(max_examples=150)
@given(feasible())
def test_projection_sums_to_the_total_and_keeps_the_order_of_demands(case):
    demand, total, low, high = case
    x = project(demand, total, low, high)
    assert abs(x.sum() - total) <= 1e-9 * max(total, 1)
    assert x.min() >= low
    assert x.max() <= high * (1 + 1e-15)
    assert (np.diff(x[np.argsort(demand, kind="stable")]) >= -1e-12).all()


def test_projection_solves_the_square_root_law_under_bounds():
    """x = clip(c sqrt(v)) minimises sum v / x: no random feasible exchange between two prompts does
    better."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        variance = rng.random(8) ** 3
        x = project(np.sqrt(variance), 32, 2.0, 12.0)
        noise = (variance / x).sum()
        for _ in range(200):
            i, j = rng.choice(8, 2, replace=False)
            step = rng.random() * min(12.0 - x[i], x[j] - 2.0)
            moved = x.copy()
            moved[i] += step
            moved[j] -= step
            assert (variance / moved).sum() >= noise - 1e-12


def test_a_total_that_leaves_no_choice():
    assert exact_budget([3.0, 0.0], 4, 2, 2).tolist() == [2, 2]
    assert exact_budget([0.0], 7, 0, 9).tolist() == [7]
    assert exact_budget([1.0, 0.0], 9, 1, 8).tolist() == [8, 1]
    assert exact_budget([0.0, 0.0, 0.0], 7, 1, 5, keys=np.array([3, 1, 2], np.uint64)).tolist() == [
        2,
        3,
        2,
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1.0, 2.0], 1, 1, 4), "cannot be met"),
        (([1.0, 2.0], 9, 1, 4), "cannot be met"),
        (([], 0, 0, 4), "non-empty"),
        (([[1.0]], 1, 0, 4), "shape"),
        (([[1.0], [1.0, 2.0]], 1, 0, 4), "flat list"),
        (([1.0, math.nan], 4, 1, 4), "number 1 is nan"),
        (([1.0, math.inf], 4, 1, 4), "number 1 is inf"),
        (([-1.0, 1.0], 4, 1, 4), "number 0 is -1.0"),
        (([None, 1.0], 4, 1, 4), "flat list of numbers"),
        ((["a", "b"], 4, 1, 4), "flat list of numbers"),
        (([True, False], 4, 1, 4), "flat list of numbers"),
        (([1.0, 1.0], 4.0, 1, 4), "total=4.0"),
        (([1.0, 1.0], True, 1, 4), "total=True"),
        (([1.0, 1.0], 4, "1", 4), "low='1'"),
        (([1.0, 1.0], 4, 3, 2), "low=3"),
        (([1.0, 1.0], 4, -1, 4), "low=-1"),
        (([1.0, 1.0], 4, 1, 4, np.zeros(3, np.uint64)), "3 keys"),
    ],
)
def test_what_cannot_be_planned_is_a_named_error(arguments, words):
    with pytest.raises(BudgetError, match=words):
        exact_budget(*arguments)


def test_oracle_1_the_square_root_law():
    share, variance = np.array([0.5, 0.3, 0.2]), np.array([0.05, 0.25, 0.15])
    n = sqrt_law(share, variance, 4)
    np.testing.assert_allclose(n, [2.636, 5.895, 4.566], atol=5e-4)
    assert share @ n == pytest.approx(4.0)
    assert share @ (variance / n) == pytest.approx(0.02877, abs=5e-6)
    assert share @ (variance / 4) == pytest.approx(0.03250, abs=5e-6)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(1e-6, 1.0)), min_size=2, max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_the_square_root_law_beats_every_other_plan(bins, seed):
    share, variance = map(np.array, zip(*bins, strict=True))
    share = share / share.sum()
    n = sqrt_law(share, variance, 4.0)
    assert share @ n == pytest.approx(4.0)
    others = np.random.default_rng(seed).dirichlet(np.ones(len(bins)), 300) * 4.0 / share
    noise = (variance / np.maximum(others, 1e-300)) @ share
    assert share @ (variance / n) <= noise.min() * (1 + 1e-9)


@pytest.mark.parametrize("factor", [1e-300, 1e-9, 1.0, 1e9, 1e300])
def test_the_square_root_law_knows_no_units(factor):
    share, variance = np.array([0.5, 0.3, 0.2]), np.array([0.05, 0.25, 0.15])
    np.testing.assert_allclose(
        sqrt_law(share, variance * factor, 4), sqrt_law(share, variance, 4), rtol=1e-12
    )
    np.testing.assert_allclose(
        sqrt_law(share * 0.1, variance, 4), sqrt_law(share, variance, 4), rtol=1e-12
    )


def test_the_square_root_law_without_variance_is_uniform():
    assert sqrt_law([0.5, 0.5], [0.0, 0.0], 4).tolist() == [4.0, 4.0]
    assert sqrt_law([1.0, 0.0], [0.0, 0.2], 4).tolist() == [4.0, 4.0]
    for share, variance in (([0.5], [0.1, 0.2]), ([0.5, 0.5], [0.1, -0.2]), ([math.nan], [0.1])):
        with pytest.raises(BudgetError):
            sqrt_law(share, variance, 4)
