"""The Online Difficulty Classifier against slow reference implementations that keep whole
histories."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.core.difficulty import (
    STATISTICS,
    DifficultyClassifier,
    Visits,
    bin_edges,
    move_bins,
    posterior_pass_at_k,
)
from gdro.core.errors import OptionError, StateError
from gdro.core.prompts import PromptTable
from gdro.core.types import UNSEEN


def classifier_of(*args, **options) -> DifficultyClassifier:
    return DifficultyClassifier(PromptTable(), *args, **options)


def load(classifier: DifficultyClassifier, state: dict) -> None:
    classifier.table.load_state_dict(state)
    classifier.recount()


def rows_of(classifier: DifficultyClassifier, ids: list[str]) -> np.ndarray:
    return classifier.table.admit(classifier.table.look_up(ids)).rows


def visit_value(statistic: str, c: int, n: int, mean: float) -> tuple[float, float]:
    if statistic in ("beta", "pass_at_k"):
        return c, n
    return (float(c > 0) if statistic == "any_of_n" else mean), 1.0


def reference(
    statistic: str,
    history: list[tuple[int, int, float]],
    window: int | None,
    discount: float,
    k: int,
):
    values = [visit_value(statistic, c, n, mean) for c, n, mean in history]
    if window is None:
        weights = [discount**age for age in range(len(values) - 1, -1, -1)]
    else:
        values, weights = values[-window:], [1.0] * min(window, len(values))
    top = sum(w * v for w, (v, _) in zip(weights, values, strict=True))
    bottom = sum(w * u for w, (_, u) in zip(weights, values, strict=True))
    if statistic == "pass_at_k":
        a, b = top + 0.25, bottom - top + 0.25
        return 1 - math.exp(
            math.lgamma(b + k) + math.lgamma(a + b) - math.lgamma(b) - math.lgamma(a + b + k)
        )
    return (top + 0.25) / (bottom + 0.5) if statistic == "beta" else top / bottom


@pytest.mark.parametrize("window", [None, 1, 3, 8, 13])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_every_statistic_against_whole_histories(statistic, window):
    rng = np.random.default_rng(0)
    classifier = classifier_of(10, statistic, window, discount=0.8, k=4, hysteresis=0.03)
    ids = [f"p{i}" for i in range(12)]
    rows = rows_of(classifier, ids)
    histories: list[list[tuple[int, int, float]]] = [[] for _ in ids]
    bins = [UNSEEN] * 12
    for _ in range(40):
        chosen = rng.permutation(12)[:7]
        n = rng.integers(1, 9, 7)
        c = rng.integers(0, n + 1)
        mean = rng.random(7)
        classifier.record(rows[chosen], Visits(c, n, mean))
        for place, prompt in enumerate(chosen):
            histories[prompt].append((int(c[place]), int(n[place]), float(mean[place])))
            estimate = reference(statistic, histories[prompt], window, 0.8, 4)
            assert classifier.table.column("estimate")[prompt] == pytest.approx(estimate, abs=1e-6)
            seen = float(classifier.table.column("estimate")[prompt])
            bins[prompt] = reference_bin(bins[prompt], seen, classifier.edges, 0.03)
        assert classifier.bins_of(rows).tolist() == bins
        assert classifier.mass.tolist() == [bins.count(b) for b in range(10)]
    assert classifier.table.column("visits").tolist() == [len(history) for history in histories]


def reference_bin(old: int, estimate: float, edges: np.ndarray, margin: float) -> int:
    """One edge at a time: up while the estimate clears the upper edge by the margin, down
    likewise."""
    bins = len(edges) - 1
    if old == UNSEEN:
        return sum(estimate >= edge for edge in edges[1:-1])
    while old < bins - 1 and estimate - margin >= edges[old + 1]:
        old += 1
    while old > 0 and estimate + margin < edges[old]:
        old -= 1
    return old


@settings(max_examples=200)
@given(st.integers(1, 12), st.integers(-1, 11), st.floats(0, 1), st.floats(0, 0.05))
def test_hysteresis_against_walking_edge_by_edge(bins, old, estimate, margin):
    old, edges = min(old, bins - 1), bin_edges(bins)
    found = move_bins(np.array([old]), np.array([estimate]), edges, margin)[0]
    assert found == reference_bin(old, estimate, edges, margin)


def test_a_prompt_moves_both_ways_and_stays_within_the_margin():
    edges = bin_edges(10)

    def move(old: int, estimate: float) -> int:
        return int(move_bins(np.array([old]), np.array([estimate]), edges, 0.03)[0])

    assert [move(3, e) for e in (0.42, 0.44, 0.95)] == [3, 4, 9]
    assert [move(3, e) for e in (0.28, 0.26, 0.0)] == [3, 2, 0]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_all_bins_can_be_reached_from_everywhere(statistic):
    """Pass rates 0 to 1 after a life at the other end; any_of_n at n = 1, where it is the pass
    rate."""
    classifier = classifier_of(10, statistic, None, discount=0.9, k=1, hysteresis=0.03)
    rows = rows_of(classifier, [f"p{i}" for i in range(11)])
    n = 1 if statistic == "any_of_n" else 20
    for reverse in (False, True):
        rates = np.linspace(0, 1, 11)[:: -1 if reverse else 1]
        for t in range(400):
            c = np.floor((t + 1) * rates * n + 1e-9).astype(int) - np.floor(
                t * rates * n + 1e-9
            ).astype(int)
            classifier.record(rows, Visits(c, np.full(11, n), c / n))
        reached = classifier.bins_of(rows)
        assert reached[0 if not reverse else -1] == 0
        assert reached[-1 if not reverse else 0] == 9
        assert len(set(reached.tolist())) >= (9 if statistic != "any_of_n" else 7)


def test_the_estimate_is_good_after_one_to_three_visits():
    """Mean absolute error of the beta estimate at n = 4 per visit, over uniform pass rates."""
    rng = np.random.default_rng(0)
    classifier = classifier_of(10, "beta", discount=0.9)
    rates = rng.random(4000)
    rows = rows_of(classifier, [f"p{i}" for i in range(4000)])
    errors = []
    for _ in range(3):
        c = rng.binomial(4, rates)
        classifier.record(rows, Visits(c, np.full(4000, 4), c / 4))
        errors.append(np.abs(classifier.table.column("estimate") - rates).mean())
    assert errors[0] < 0.15
    assert errors[2] < 0.11


def test_beta_does_not_move_with_the_number_of_rollouts_and_any_of_n_does():
    rng = np.random.default_rng(0)
    means = {}
    for statistic in ("beta", "any_of_n"):
        for n in (2, 12):
            classifier = classifier_of(10, statistic, discount=1.0)
            rows = rows_of(classifier, [f"p{i}" for i in range(500)])
            for _ in range(20):
                c = rng.binomial(n, 0.1, 500)
                classifier.record(rows, Visits(c, np.full(500, n), c / n))
            means[statistic, n] = classifier.table.column("estimate").mean()
    assert abs(means["beta", 2] - means["beta", 12]) < 0.02
    assert means["any_of_n", 2] == pytest.approx(0.19, abs=0.02)
    assert means["any_of_n", 12] == pytest.approx(0.72, abs=0.02)


@pytest.mark.parametrize("n", [2, 4, 7, 8, 20])
def test_pass_at_k_forgets_its_prior_whatever_the_rollouts(n):
    """Wrong in all of many visits reads near 0, right in all near 1; a mean of stand-ins read .411
    at n = 4, k = 8."""
    classifier = classifier_of(10, "pass_at_k", discount=0.9)
    rows = rows_of(classifier, ["never", "always"])
    for _ in range(200):
        classifier.record(rows, Visits(np.array([0, n]), np.full(2, n), np.array([0.0, 1.0])))
    never, always = classifier.estimates_of(rows)
    assert never < 0.1
    assert always > 0.99
    assert classifier.bins_of(rows).tolist() == [0, 9]


def test_pass_at_k_is_the_integral():
    draws = np.random.default_rng(0).beta(2.5, 4.0, 400_000)
    for k in (1, 3, 8):
        expected = (1.0 - (1.0 - draws) ** k).mean()
        assert posterior_pass_at_k(np.array([2.5]), np.array([4.0]), k)[0] == pytest.approx(
            expected, abs=2e-3
        )


def test_unseen_is_a_state_of_its_own():
    classifier = classifier_of(10)
    rows = rows_of(classifier, ["a", "b"])
    classifier.record(rows[:1], Visits(np.array([0]), np.array([12]), np.array([0.0])))
    assert classifier.bins_of(rows).tolist() == [0, UNSEEN]
    assert classifier.bins_of(np.array([-1])).tolist() == [UNSEEN]
    assert classifier.mass.sum() == 1
    assert classifier_of(10).bins_of(np.array([-1])).tolist() == [UNSEEN]


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 38),
        ({"statistic": "any_of_n", "window": 50}, 29),
        ({"statistic": "any_of_n", "window": 272}, 56),
    ],
)
def test_bytes_per_prompt(options, most):
    assert classifier_of(10, **options).table.bytes_per_prompt == most <= 64


def test_state_round_trip_and_damaged_states():
    classifier, other = classifier_of(10), classifier_of(10)
    rows = rows_of(classifier, ["ä", "b" * 300, "\ud800"])
    classifier.record(rows, Visits(np.array([0, 2, 4]), np.full(3, 4), np.array([0.0, 0.5, 1.0])))
    other.table.load_state_dict(classifier.table.state_dict())
    other.recount()
    assert other.table.ids == ["ä", "b" * 300, "\ud800"]
    assert other.mass.tolist() == classifier.mass.tolist()
    for key, value in (
        ("bin", np.array([10, 0, 0], np.int16)),
        ("bin", np.array([-1, 0, 0], np.int16)),
        ("visits", None),
    ):
        state = classifier.table.state_dict()
        state["columns"][key] = value
        with pytest.raises(StateError, match=key):
            load(other, state)
    for change in (
        {"ids": np.array([255], np.uint8)},
        {"id_lengths": np.array([1, 1], np.int32)},
        {"id_lengths": "x"},
        {"sources": ["a"]},
        {"sources": None},
    ):
        with pytest.raises(StateError, match=next(iter(change))):
            other.table.load_state_dict(classifier.table.state_dict() | change)


@pytest.mark.parametrize(
    "options",
    [
        {"bins": 0},
        {"bins": 1001},
        {"bins": True},
        {"bins": [0.5, 0.5]},
        {"bins": [0.0]},
        {"bins": [math.nan]},
        {"bins": ["x"]},
        {"statistic": "mean"},
        {"window": 0},
        {"discount": 0.0},
        {"discount": 1.1},
        {"k": 0},
        {"hysteresis": 0.1},
        {"hysteresis": math.nan},
    ],
)
def test_options_out_of_range_are_named(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        classifier_of(**options)
