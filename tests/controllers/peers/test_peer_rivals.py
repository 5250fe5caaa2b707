"""The methods of 2026: each part's rule against its paper's numbers, a restatement, or brute
force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peer_worlds import exact, rates, step

import gdro
from gdro.controllers.contrib.centred import pass_slope, reverse_hazard
from gdro.controllers.contrib.gains import hit_gains
from gdro.controllers.contrib.mt_grpo import softmax_slope
from gdro.core.budget import greedy_allocation

RATES_OF_8 = {f"a/{right}": [1.0] * right + [0.0] * (8 - right) for right in range(9)}


# --- BBG


def test_bbg_slope_is_the_papers_at_8_of_8():
    right = np.arange(5)
    assert pass_slope(right, np.full(5, 8), 8) == pytest.approx(
        [4.5, 2.4, 1.2, 0.5538, 0.2308], abs=1e-4
    )


@pytest.mark.parametrize(("n", "m", "k"), [(8, 3, 8), (4, 0, 16), (12, 11, 2), (2, 1, 1)])
def test_bbg_slope_is_the_posterior_mean(n, m, k):
    p = np.random.default_rng(0).beta(1 + m, 1 + n - m, 400_000)
    slope = k * (1 - p) ** (k - 1)
    found = pass_slope(np.array([m]), np.array([n]), k)[0]
    assert abs(slope.mean() - found) < 5 * slope.std() / np.sqrt(len(p)) + 1e-12


@pytest.mark.parametrize("advantage", ["grpo", "dr_grpo"])
def test_bbg_weight_times_the_advantage_is_the_slope_times_the_centred_reward(advantage):
    controller = gdro.make_controller("bbg", mean_rollouts=8, advantage=advantage, gate=0.0)
    weights = exact(controller, RATES_OF_8).weights
    own = gdro.group_advantages(list(RATES_OF_8.values()), advantage, epsilon=1e-300)
    for right in range(1, 8):
        rewards = np.array(RATES_OF_8[f"a/{right}"])
        slope = pass_slope(np.array([right]), np.array([8]), 8)
        assert weights[right] * own[right] == pytest.approx(slope * (rewards - right / 8))
    assert weights[0] == weights[8] == 1.0


def test_bbg_gate_leaves_out_what_is_nearly_solved():
    controller = gdro.make_controller("bbg", mean_rollouts=8)
    weights = exact(controller, RATES_OF_8).weights
    slope = pass_slope(np.arange(9), np.full(9, 8), 8)
    assert (slope[5:8] < 0.09).all()
    assert (slope[:5] > 0.09).all()
    assert (weights[5:8] < 1e-8).all()
    assert (weights[1:5] > 0.01).all()
    assert controller.metrics()["gated_share"] == pytest.approx(3 / 9)


# --- CurveRL


def test_curverl_reverse_hazard():
    assert reverse_hazard(np.array([0, 3, 0, 1, 4])) == pytest.approx([0, 1, 0, 1 / 4, 4 / 8])
    assert reverse_hazard(np.zeros(3, np.int64)).tolist() == [0, 0, 0]


def test_curverl_weighs_by_the_lagged_window_as_the_release_does():
    """Against a restatement of Algorithm 1 with N + 1 bins and a list of the last batches."""
    window, rng, n = 3, np.random.default_rng(0), 4
    controller = gdro.make_controller("curverl", window=window, advantage="dr_grpo")
    past: list[np.ndarray] = []
    for _ in range(8):
        right = rng.binomial(n, rng.beta(0.7, 0.7, 12))
        groups = {f"a/{i}": [1.0] * c + [0.0] * (n - c) for i, c in enumerate(right.tolist())}
        weights = exact(controller, groups).weights
        rate = right / n
        live = (rate > 0) & (rate < 1)
        reference = np.concatenate(past[-window:]) if past else np.empty(0)
        if not len(reference):
            reference = rate[live]
        bins = np.floor(reference * (n + 1)).astype(int)
        mass = np.bincount(bins, minlength=n + 1) / max(len(reference), 1)
        hazard = mass / np.maximum(np.cumsum(mass), 1e-12)
        expected = hazard[np.floor(rate * (n + 1)).astype(int).clip(max=n)]
        assert weights[live] == pytest.approx(expected[live], abs=1e-8)
        assert (weights[~live] == 1.0).all()
        past.append(rate[live])


# --- HORA


def hits(m: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return sum(
        1.0 - float(np.prod([(y + j) / (x + y + j) for j in range(int(count))]))
        for count, x, y in zip(m, a, b, strict=True)
    )


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.floats(0.1, 20), st.floats(0.1, 20)), min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(1, 4),
    st.data(),
)
def test_hora_greedy_equals_brute_force(posteriors, low, room, data):
    a, b = np.array(posteriors).T
    spare = data.draw(st.integers(0, room * len(a)))
    keys = np.arange(len(a), dtype=np.uint64)
    chosen = low + greedy_allocation(hit_gains(a, b, low, low + room), spare, keys)
    total = low * len(a) + spare
    every = itertools.product(range(low, low + room + 1), repeat=len(a))
    best = max(hits(np.array(m), a, b) for m in every if sum(m) == total)
    assert chosen.sum() == total
    assert hits(chosen, a, b) == pytest.approx(best, rel=1e-12)


def test_hora_gains_are_the_differences_of_the_hit_utility():
    a, b = np.array([1.0, 3.5]), np.array([1.0, 0.5])
    utility = [
        [hits(np.array([m]), a[i : i + 1], b[i : i + 1]) for m in range(8)] for i in range(2)
    ]
    assert hit_gains(a, b, 0, 7) == pytest.approx(np.diff(utility))
    assert hit_gains(a, b, 2, 5) == pytest.approx(np.diff(utility)[:, 2:5])


def test_hora_gives_most_to_the_prompts_that_were_rarely_solved():
    rng, rate = np.random.default_rng(0), {"a/hard": 0.05, "a/half": 0.5, "a/easy": 0.95}
    controller = gdro.make_controller("hora", decay=1.0)
    for _ in range(20):
        step(controller, list(rate), rate, rng)
    plan = controller.plan(list(rate))
    assert plan.rollouts[0] > plan.rollouts[1] >= plan.rollouts[2] == controller.min_rollouts


# --- MT-GRPO


def logits(controller: gdro.Controller, groups: dict[str, list[float]]) -> np.ndarray:
    """xi of these prompts' tasks."""
    assert controller.parts.selector is not None
    return controller.parts.selector.state["xi"][controller.table.look_up(list(groups)).sources]


def test_mt_grpo_slope_is_the_gradient_of_the_weighted_gain():
    rng = np.random.default_rng(0)
    xi, gain = rng.normal(size=5), rng.normal(size=5)

    def value(at: np.ndarray) -> float:
        z = np.exp(at - at.max())
        return float(z @ gain / z.sum())

    numeric = [(value(xi + d) - value(xi - d)) / 2e-6 for d in np.eye(5) * 1e-6]
    assert softmax_slope(xi, gain) == pytest.approx(numeric, abs=1e-8)


def test_mt_grpo_moves_as_adam_does():
    """The first steps of Adam have the size of its rate; the weak task gains, the strong loses."""
    controller = gdro.make_controller("mt_grpo")
    groups = {"weak/1": [0.0] * 4, "mid/1": [1.0, 0.0, 1.0, 0.0], "strong/1": [1.0] * 4}
    exact(controller, groups)
    weak, mid, strong = logits(controller, groups)
    assert weak == pytest.approx(0.025, rel=1e-3)
    assert strong == pytest.approx(-0.025, rel=1e-3)
    for _ in range(200):
        exact(controller, groups)
    weak, mid, strong = logits(controller, groups)
    assert weak > max(mid, strong) + 1.0


def test_mt_grpo_gradient_rule_is_the_formula():
    controller = gdro.make_controller("mt_grpo", step_rule="gradient")
    groups = {"weak/1": [0.0] * 4, "strong/1": [1.0] * 4}
    exact(controller, groups)
    gain = 0.2 * np.array([0.0, 0.5])  # accuracies 0 and 1, smoothed from 0 by .5
    expected = -0.025 * 0.5 * (gain - gain.mean())
    assert logits(controller, groups) == pytest.approx(expected)
    exact(controller, groups)
    z = np.exp(expected) / np.exp(expected).sum()
    gain = np.array([0.0, 0.2 + 0.2 * 0.75])  # the accuracy rose by .25, clipped at .2
    assert logits(controller, groups) == pytest.approx(expected - 0.025 * z * (gain - z @ gain))


def test_mt_grpo_sampler_gives_each_task_its_share_of_the_live_prompts():
    """A task of which two thirds have no gradient is drawn three times as often as one without."""
    ids = [f"{task}/{i}" for task in ("dull", "live") for i in range(3000)]
    controller = gdro.make_controller("mt_grpo", mean_rollouts=2)
    exact(controller, {"dull/0": [0.0, 0.0], "live/0": [1.0, 0.0]})
    state = controller.parts.selector.state
    state["xi"][:], state["dead"][:] = 0.0, 0.0
    state["dead"][controller.table.look_up(ids[:1]).sources[0]] = 2.0 / 3.0
    chosen = controller.select(ids, 400)
    dull = sum(prompt.startswith("dull") for prompt in chosen) / len(chosen)
    assert dull == pytest.approx(0.75, abs=5 * np.sqrt(0.75 * 0.25 / 400))


def test_mt_grpo_draws_a_weak_task_more_in_a_world():
    rate = {i: (0.1 if i.startswith("family0/") else 0.8) for i in rates(100)}
    controller = gdro.make_controller("mt_grpo", step_size=0.1)
    rng, ids = np.random.default_rng(1), list(rate)
    share = []
    for _ in range(60):
        chosen = controller.select(ids, 20)
        share.append(np.mean([rate[i] == 0.1 for i in chosen]))
        step(controller, chosen, rate, rng)
    assert np.mean(share[:3]) < 0.3
    assert np.mean(share[-20:]) > 0.5
