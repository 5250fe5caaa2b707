"""Tokens of rollouts against the weighted regression that they stand for; what it finds; order and
state; what a draw by value per token gains; what a controller makes of it and refuses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdro
from gdro.controllers.part import Batch
from gdro.controllers.pending import MAX_OUTSTANDING
from gdro.core.errors import OptionError, PlanError, RewardError, StateError
from gdro.core.prompts import PromptTable
from gdro.core.rollout_tokens import RolloutTokens
from gdro.core.text_posterior import (
    CONSTANT,
    NAME,
    NAMES,
    PRECISION,
    TextFeatures,
    name_place,
    text_vector,
)
from gdro.lab.simulation import SimulationSettings, simulate

SOURCES = ("short", "middle", "long")
IDS = [f"{source}/{i}" for source in SOURCES for i in range(12)] + ["alone"]
TEXTS = [f"what is {i} + {i * i}? {name}" for i, name in enumerate(IDS)]
MEANS = {"short": 20.0, "middle": 100.0, "long": 700.0}
VISITS = st.lists(
    st.dictionaries(st.sampled_from(IDS), st.floats(1.0, 4000.0), min_size=1, max_size=8),
    min_size=1,
    max_size=6,
)


def model(texts: bool, **options) -> tuple[RolloutTokens, PromptTable]:
    features = TextFeatures()
    features.describe(IDS, TEXTS)
    return RolloutTokens(features if texts else None, **options), PromptTable()


def inputs(name: str, texts: bool) -> np.ndarray:
    x = np.zeros(NAMES + 1)
    if name_place(name) >= 0:
        x[name_place(name)] = NAME
    x[-1] = CONSTANT
    text = text_vector(TEXTS[IDS.index(name)]).astype(np.float16).astype(float)
    return np.concatenate([text, x]) if texts else x


@pytest.mark.parametrize("texts", [False, True])
@settings(max_examples=20, deadline=None)
@given(VISITS, st.integers(2, 60))
def test_it_is_ridge_regression_with_forgetting(texts, steps, window):
    """Weighted least squares by lstsq, each row times the root of its weight, the prior as further
    rows."""
    tokens, table = model(texts, window=window)
    for step in steps:
        tokens.learn(table.look_up(list(step)), np.array(list(step.values())))
    sizes = [len(step) for step in steps]
    weight = (1.0 - 1.0 / window) ** np.repeat(sum(sizes) - np.cumsum(sizes), sizes).astype(float)
    x = np.array([inputs(name, texts) for step in steps for name in step])
    y = np.log([value for step in steps for value in step.values()])
    mean = (weight @ y) / weight.sum()
    root = np.sqrt(weight)
    rows = np.vstack([root[:, None] * x, math.sqrt(PRECISION) * np.eye(x.shape[1])])
    target = np.concatenate([root * (y - mean), np.zeros(x.shape[1])])
    u = np.linalg.lstsq(rows, target, rcond=None)[0]
    wanted = [math.exp(mean + inputs(name, texts) @ u) for name in IDS]
    np.testing.assert_allclose(tokens.expected(table.look_up(IDS)), wanted, rtol=1e-8)


@pytest.mark.parametrize("texts", [False, True])
def test_before_any_data_all_prompts_cost_alike(texts):
    tokens, table = model(texts)
    assert tokens.empty
    assert tokens.expected(table.look_up(IDS)).tolist() == [1.0] * len(IDS)


@pytest.mark.parametrize("texts", [False, True])
def test_it_finds_the_means_of_the_sources_and_follows_them(texts):
    """Log-normal tokens, and a policy whose long answers become short: unseen prompts are expected
    to take their source's geometric mean of today."""
    (tokens, table), rng = model(texts), np.random.default_rng(0)
    if texts:
        pool = [(f"{source}/{i}", f"what is {i}?") for source in SOURCES for i in range(12, 2001)]
        tokens.features.describe(*zip(*pool, strict=True))
    unseen = [f"{source}/2000" for source in SOURCES]
    for factor in (1.0, 0.25):
        for _ in range(200):
            names = [f"{source}/{i}" for source in SOURCES for i in rng.permutation(1988)[:3] + 12]
            true = [MEANS[name.partition("/")[0]] for name in names]
            true = [value * factor if value == 700.0 else value for value in true]
            tokens.learn(table.look_up(names), np.exp(np.log(true) + rng.normal(0, 0.3, 9)))
        found = tokens.expected(table.look_up(unseen))
        np.testing.assert_allclose(found, [20.0, 100.0, 700.0 * factor], rtol=0.25)
        assert tokens.error < 0.5


def test_texts_tell_prompts_of_one_source_apart():
    texts = {f"data/{i}": "prove that " * (i % 2) + f"what is {i}?" for i in range(60)}
    features = TextFeatures()
    features.describe(list(texts), list(texts.values()))
    tokens, table = RolloutTokens(features), PromptTable()
    for start in range(0, 50, 10):
        names = [f"data/{i}" for i in range(start, start + 10)]
        tokens.learn(table.look_up(names), np.array([50.0, 500.0] * 5))
    short, long = tokens.expected(table.look_up(["data/58", "data/59"]))
    assert long > 3.0 * short


@pytest.mark.parametrize("texts", [False, True])
def test_the_order_of_a_batch_changes_not_a_bit_and_a_state_goes_on(texts):
    (first, table), (second, _), (resumed, _) = (model(texts) for _ in range(3))
    rng = np.random.default_rng(0)
    for _ in range(6):
        places, order = rng.permutation(len(IDS))[:9], rng.permutation(9)
        names, values = [IDS[i] for i in places], rng.uniform(1.0, 900.0, 9)
        first.learn(table.look_up(names), values)
        second.learn(table.look_up([names[i] for i in order]), values[order])
        resumed.learn(table.look_up(names), values)
        again, _ = model(texts)
        again.load_state_dict(resumed.state_dict())
        resumed = again
    states = [gdro.state_hash(one.state_dict()) for one in (first, second, resumed)]
    assert states[0] == states[1] == states[2]
    np.testing.assert_array_equal(
        first.expected(table.look_up(IDS)), resumed.expected(table.look_up(IDS))
    )
    backwards = second.expected(table.look_up(IDS[::-1]))[::-1]
    np.testing.assert_array_equal(first.expected(table.look_up(IDS)), backwards)


def test_a_damaged_state_is_refused_by_its_key():
    tokens, table = model(False)
    tokens.learn(table.look_up(IDS[:3]), np.array([1.0, 2.0, 3.0]))
    good, before = tokens.state_dict(), gdro.state_hash(tokens.state_dict())
    other, _ = model(True)
    for key in good:
        with pytest.raises(StateError, match=key):
            tokens.load_state_dict({name: value for name, value in good.items() if name != key})
    for key in ("precision", "moment", "total"):
        with pytest.raises(StateError, match=key):
            tokens.load_state_dict(good | {key: np.full_like(good[key], np.nan)})
    with pytest.raises(StateError, match="form"):
        tokens.load_state_dict(good | {"form": 99})
    with pytest.raises(StateError, match="precision"):
        other.load_state_dict(good)
    assert gdro.state_hash(tokens.state_dict()) == before
    with pytest.raises(OptionError, match="window=0"):
        RolloutTokens(window=0)


def test_at_a_budget_of_tokens_value_per_token_gains_most():
    """Values v and costs c of 12 prompts, drawn one after the other until the tokens are spent: by
    v / c the greedy is within one prompt of the best of all choices, and draws in proportion to
    v / c gain more than draws in proportion to v."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        value, cost = rng.uniform(0.05, 1.0, 12), np.exp(rng.normal(4.0, 1.0, 12))
        budget = 0.4 * cost.sum()

        def gain(order, value=value, cost=cost, budget=budget) -> float:
            fits = np.cumsum(cost[order]) <= budget
            return float(value[order][fits].sum())

        subsets = np.array(list(itertools.product((0, 1), repeat=12)))
        best = float((subsets @ value)[subsets @ cost <= budget].max())
        assert best - value.max() <= gain(np.argsort(-value / cost)) <= best + 1e-12
        noise = rng.exponential(size=(4000, 12))
        by_value, by_token = (
            np.mean([gain(order) for order in np.argsort(noise / chance)])
            for chance in (value, value / cost)
        )
        assert by_token > by_value


def told(name: str = "live_gdro", **options) -> gdro.Controller:
    """A controller that met the sources of IDS, with their tokens."""
    controller, rng = gdro.make_controller(name, **options), np.random.default_rng(0)
    controller.describe(IDS, TEXTS)
    for _ in range(20):
        ids = [IDS[i] for i in rng.permutation(len(IDS))[:8]]
        plan = controller.plan(ids)
        tokens = [MEANS.get(name.partition("/")[0], 50.0) * rng.uniform(0.8, 1.2) for name in ids]
        controller.observe_tokens(ids, tokens)
        controller.observe(ids, [rng.integers(0, 2, n) for n in plan.rollouts])
    return controller


def chances(controller: gdro.Controller) -> np.ndarray:
    prompts, weights = controller.table.look_up(IDS), controller.parts.weigher.selection_weights()
    belief = controller.belief(IDS)
    return controller.parts.selector.chances(Batch(prompts, belief, prompts.keys, weights, 9))


@pytest.mark.parametrize("name", ["live_gdro", "text_gdro"])
@pytest.mark.parametrize("kappa", [0.5, 1.0])
def test_chances_are_those_without_times_a_power_of_the_tokens(name, kappa):
    """But for the share that goes to all candidates evenly."""
    plain = told(name, selector={"explore": 0.0})
    paying = told(name, selector={"explore": 0.0, "token_power": kappa})
    cost = paying.parts.selector.tokens.expected(paying.table.look_up(IDS))
    wanted = chances(plain) * cost**-kappa
    np.testing.assert_allclose(chances(paying), wanted / wanted.sum(), rtol=1e-10)
    assert (paying.parts.selector.tokens.features is None) == (name == "live_gdro")
    even = told(name, selector={"token_power": kappa})
    mixed = 0.9 * wanted / wanted.sum() + 0.1 / len(IDS)
    np.testing.assert_allclose(chances(even), mixed, rtol=1e-10)
    assert 0.0 < even.metrics()["tokens_error"] < 1.0


def test_without_it_tokens_change_nothing():
    controller = told()
    assert not controller.needs_tokens
    before = gdro.state_hash(controller.state_dict())
    controller.observe_tokens(IDS[:2], [3.0, 900.0])
    assert gdro.state_hash(controller.state_dict()) == before


@pytest.mark.parametrize("name", ["live_gdro", "text_gdro"])
def test_a_resumed_controller_goes_on(name):
    one = told(name, selector={"token_power": 1.0})
    other = gdro.make_controller(name, selector={"token_power": 1.0})
    other.describe(IDS, TEXTS)
    other.load_state_dict(one.state_dict())
    assert gdro.state_hash(other.state_dict()) == gdro.state_hash(one.state_dict())
    np.testing.assert_array_equal(chances(other), chances(one))
    broken = one.state_dict()
    del broken["parts"]["selector"]["tokens"]["moment"]
    with pytest.raises(StateError, match="moment"):
        other.load_state_dict(broken)


@pytest.mark.parametrize(
    ("ids", "tokens", "error", "match"),
    [
        (IDS[:2], [1.0], RewardError, "1 numbers of tokens for 2 prompts"),
        (IDS[:2], [1.0, 0.0], RewardError, f"{IDS[1]}'.* 0 tokens"),
        (IDS[:2], [-1.0, 1.0], RewardError, f"{IDS[0]}'"),
        (IDS[:2], [1.0, math.nan], RewardError, f"{IDS[1]}'"),
        (IDS[:2], [1.0, math.inf], RewardError, f"{IDS[1]}'"),
        (IDS[:2], None, RewardError, "list of tokens"),
        ([IDS[0], "new/1"], [1.0, 2.0], PlanError, "'new/1' was never planned"),
    ],
)
def test_tokens_that_are_none_are_refused_without_a_trace(ids, tokens, error, match):
    for controller in (told(), told(selector={"token_power": 1.0})):
        before = gdro.state_hash(controller.state_dict())
        with pytest.raises(error, match=match):
            controller.observe_tokens(ids, tokens)
        assert gdro.state_hash(controller.state_dict()) == before


def test_a_loop_that_never_tells_tokens_is_told():
    controller = gdro.make_controller("live_gdro", selector={"token_power": 1.0})
    for _ in range(MAX_OUTSTANDING + 1):
        ids = controller.select(IDS, 2)
        plan = controller.plan(ids)
        controller.observe(ids, [np.arange(n) % 2 for n in plan.rollouts])
    with pytest.raises(PlanError, match="observe_tokens"):
        controller.select(IDS, 2)


def test_the_simulator_whose_rollouts_have_no_tokens_refuses_it():
    with pytest.raises(OptionError, match="token_power"):
        simulate("text_gdro:token_power=1", 0, SimulationSettings(steps=2))


@pytest.mark.parametrize("power", [-0.1, 1.5, math.nan])
def test_a_power_out_of_range_is_named(power):
    with pytest.raises(OptionError, match="token_power"):
        gdro.make_controller("text_gdro", token_power=power)
