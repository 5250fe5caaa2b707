"""One contract for every controller in the registry: whatever the method, an engine may rely on all
of this."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdro
from gdro.controllers.controller import Controller
from gdro.controllers.pending import MAX_OUTSTANDING
from gdro.core.errors import (
    GDROError,
    OptionError,
    PlanError,
    PromptIdError,
    RewardError,
    StateError,
)

NAMES = gdro.controller_names()
EXAMPLE = f"{Path(__file__).parents[2] / 'examples' / 'own_part.py'}:Behind"
OWN = (
    "uniform",
    "prompt_gdro",
    "rollout_gdro",
    "joint",
    "sqrt_law",
    "paper",
    "paper_prompt",
    "paper_rollout",
)
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    (EXAMPLE, {}),
    ("joint", {"adversary": "hedge", "signal": "variance"}),
    ("joint", {"adversary": "exp3p", "weights": "omega"}),
    ("joint", {"adversary": "tsallis_inf", "weights": "mean_one"}),
    (
        "joint",
        {
            "allocator": {"utility": "surrogate"},
            "estimator": {"statistic": "pass_at_k", "window": 5},
        },
    ),
    ("live_gdro", {"allocator": "live_groups"}),
    ("live_gdro", {"pace": 0.001}),
    ("live_gdro", {"selector": {"token_power": 1.0}}),
    (
        "joint",
        {
            "bins": [0.2, 0.7],
            "estimator": {"statistic": "mean_reward"},
            "reward_range": (-1.0, 1.0),
        },
    ),
]
every = pytest.mark.parametrize(
    ("name", "options"),
    VARIANTS,
    ids=lambda value: value.rpartition("/")[2] if isinstance(value, str) else str(value or ""),
)
IDS = [f"source/{i}" for i in range(60)]
RATES = np.linspace(0.0, 1.0, 60)


def make(name: str, **options: Any) -> Controller:
    """The controller, told the texts of all prompts here."""
    controller = gdro.make_controller(name, **options)
    known = [*IDS, "alone", "new/1", "new/2"]
    controller.describe(known, known)
    return controller


def rewards_of(plan: gdro.Plan, rng: np.random.Generator) -> list[np.ndarray]:
    rates = [RATES[IDS.index(i)] for i in plan.prompt_ids]
    return [(rng.random(n) < p).astype(float) for n, p in zip(plan.rollouts, rates, strict=True)]


def losses_of(plan: gdro.Plan) -> np.ndarray:
    return np.array([math.sin(7.0 * IDS.index(i)) * 0.05 for i in plan.prompt_ids])


def steps(
    controller: Controller, count: int, seed: int = 0, size: int = 24
) -> Iterator[tuple[gdro.Plan, gdro.Feedback]]:
    """Train: batches, rewards and losses that depend on the seed and on what the controller
    decides."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        plan = controller.plan([IDS[i] for i in rng.permutation(60)[:size]])
        feedback = controller.observe(plan.prompt_ids, rewards_of(plan, rng))
        if controller.needs_losses:
            controller.observe_losses(plan.prompt_ids, losses_of(plan))
        controller.observe_tokens(plan.prompt_ids, 20.0 * np.exp(losses_of(plan)))
        yield plan, feedback


def trained(name: str, options: dict[str, Any], count: int = 6, **more: Any) -> Controller:
    controller = make(name, **(options | more))
    for _ in steps(controller, count):
        pass
    return controller


@every
def test_totals_and_bounds_are_exact_and_weights_positive(name, options):
    controller = make(name, **options)
    for plan, feedback in steps(controller, 12):
        assert plan.total == len(plan.prompt_ids) * controller.mean_rollouts
        assert controller.min_rollouts <= plan.rollouts.min()
        assert plan.rollouts.max() <= controller.max_rollouts
        assert plan.rollouts.dtype == plan.bins.dtype == np.int64
        assert feedback.prompt_ids == plan.prompt_ids
        assert np.isfinite(feedback.weights).all()
        assert (feedback.weights > 0).all()
        np.testing.assert_array_equal(feedback.bins, plan.bins)
        assert plan.bins.min() >= gdro.UNSEEN
        assert plan.bins.max() < controller.bins


@every
def test_permuting_the_batch_permutes_the_plan_and_the_weights(name, options):
    order = np.random.default_rng(3).permutation(24)
    first, second = trained(name, options), trained(name, options)
    batch = IDS[10:34]
    plan, permuted = first.plan(batch), second.plan([batch[i] for i in order])
    np.testing.assert_array_equal(permuted.rollouts, plan.rollouts[order])
    np.testing.assert_array_equal(permuted.bins, plan.bins[order])
    rewards = rewards_of(plan, np.random.default_rng(0))
    here = first.observe(batch, rewards)
    there = second.observe(permuted.prompt_ids, [rewards[i] for i in order])
    np.testing.assert_allclose(there.weights, here.weights[order], rtol=1e-9)


@every
def test_the_order_of_prompts_and_of_a_prompts_rewards_changes_nothing_not_even_a_bit(
    name, options
):
    first, second = trained(name, options), trained(name, options)
    plan = first.plan(IDS[:24])
    second.plan(IDS[:24])
    rng, order = np.random.default_rng(0), np.random.default_rng(1).permutation(24)
    rewards = [np.round(rng.random(n), 2) for n in plan.rollouts]
    here = first.observe(IDS[:24], rewards)
    shuffle = np.random.default_rng(2).permutation
    there = second.observe([IDS[i] for i in order], [shuffle(rewards[i]) for i in order])
    np.testing.assert_array_equal(there.weights, here.weights[order])
    if first.needs_losses:
        losses = losses_of(plan)
        first.observe_losses(IDS[:24], losses)
        second.observe_losses([IDS[i] for i in order], losses[order])
    assert gdro.state_hash(first.state_dict()) == gdro.state_hash(second.state_dict())


EXTREMES = [1e308, -1e308, 0.0, 1.0, 5e-324, -5e-324, 1e150]


@every
def test_extreme_rewards_and_losses_leave_weights_finite_and_plans_exact(name, options):
    controller = make(name, **options)
    rng = np.random.default_rng(0)
    for _ in range(8):
        plan = controller.plan([IDS[i] for i in rng.permutation(60)[:24]])
        assert plan.total == 24 * controller.mean_rollouts
        rewards = [rng.choice(EXTREMES, n) for n in plan.rollouts]
        if controller.sets_baselines:
            with pytest.raises(
                gdro.RewardError, match=r"outside reward_range=\(0.0, 1.0\).*reward_range=\(lowest"
            ):
                controller.observe(plan.prompt_ids, rewards)
            controller.cancel(plan)
            continue
        with pytest.warns(
            UserWarning, match=r"count as its nearer end.*set the controller's option reward_range"
        ):
            feedback = controller.observe(plan.prompt_ids, rewards)
        assert np.isfinite(feedback.weights).all()
        assert (feedback.weights > 0).all()
        assert controller.metrics()["out_of_range"] > 0
        if controller.needs_losses:
            controller.observe_losses(plan.prompt_ids, rng.choice(EXTREMES, 24))


@every
def test_what_float32_makes_of_a_reward_is_that_reward(name, options):
    """0.9 is correct at a threshold of 0.9, and 1 + 1e-7 inside a range up to 1, though float32
    holds neither."""
    exact, rounded = (make(name, correct_threshold=0.9, **options) for _ in range(2))
    plan = exact.plan(IDS[:24])
    rounded.plan(IDS[:24])
    rewards = [np.where(np.arange(n) % 2, 0.9, 1.0) for n in plan.rollouts]
    exact.observe(plan.prompt_ids, rewards)
    rounded.observe(
        plan.prompt_ids, [np.where(group == 1.0, 1.0 + 1e-7, np.float32(0.9)) for group in rewards]
    )
    for key in ("pass_rate_mean", "any_correct", "out_of_range"):
        assert rounded.metrics()[key] == exact.metrics()[key]
    assert exact.metrics()["pass_rate_mean"] == 1.0
    assert exact.metrics()["out_of_range"] == 0


def refused(controller: Controller, error: type[GDROError], call: Any) -> None:
    before = gdro.state_hash(controller.state_dict())
    with pytest.raises(error):
        call()
    assert gdro.state_hash(controller.state_dict()) == before


@every
def test_bad_prompt_ids_are_refused_without_a_trace(name, options):
    controller = trained(name, options)
    for ids in (
        [],
        "abc",
        ["a", "a"],
        ["a", ""],
        ["a", None],
        ["a", 3],
        [True],
        [["a"]],
        [float("nan")],
        None,
        7,
        b"ab",
    ):
        refused(controller, PromptIdError, lambda ids=ids: controller.plan(ids))
        refused(controller, GDROError, lambda ids=ids: controller.observe(ids, [[1.0]]))


@every
def test_bad_rewards_are_refused_without_a_trace(name, options):
    controller = trained(name, options)
    plan = controller.plan(IDS[:5])
    good = [list(group) for group in rewards_of(plan, np.random.default_rng(0))]
    for bad in (math.nan, math.inf, -math.inf, None, True, np.True_, "1", [1.0], {}, 1j, 10**400):
        rewards = [list(group) for group in good]
        rewards[2][1] = bad
        refused(
            controller, RewardError, lambda rewards=rewards: controller.observe(IDS[:5], rewards)
        )
    for bad in (
        good[:4],
        [*good, [1.0]],
        [*good[:4], []],
        [*good[:4], good[4][:-1]],
        [*good[:4], [*good[4], 0.0]],
    ):
        refused(controller, RewardError, lambda bad=bad: controller.observe(IDS[:5], bad))
    for bad in (
        None,
        3.0,
        "abcde",
        [],
        np.zeros(5),
        np.ones((5, 2, 2)),
        [*good[:4], np.ones((2, 2))],
        [*good[:4], None],
    ):
        refused(controller, RewardError, lambda bad=bad: controller.observe(IDS[:5], bad))
    for ids, rewards in (
        (IDS[:4], good[:4]),
        (IDS[:6], [*good, [1.0]]),
        ([*IDS[:4], "stranger"], good),
    ):
        refused(
            controller, PlanError, lambda ids=ids, rewards=rewards: controller.observe(ids, rewards)
        )
    refused(controller, PromptIdError, lambda: controller.observe([*IDS[:4], IDS[0]], good))
    controller.observe(IDS[:5], good)
    refused(controller, PlanError, lambda: controller.observe(IDS[:5], good))


@every
def test_bad_losses_are_refused_without_a_trace(name, options):
    controller = trained(name, options)
    plan = controller.plan(IDS[:3])
    controller.observe(IDS[:3], rewards_of(plan, np.random.default_rng(0)))
    for bad in (
        [1.0, 2.0],
        [1.0, 2.0, math.nan],
        [1.0, None, 2.0],
        [True, 1.0, 2.0],
        "abc",
        None,
        [[1.0]] * 3,
        [[1.0], [1.0, 2.0], [3.0]],
    ):
        refused(controller, RewardError, lambda bad=bad: controller.observe_losses(IDS[:3], bad))
    if controller.needs_losses:
        refused(controller, PlanError, lambda: controller.observe_losses(IDS[:2], [1.0, 2.0]))
        controller.observe_losses(IDS[:3], [0.1, 0.2, 0.3])
        refused(controller, PlanError, lambda: controller.observe_losses(IDS[:3], [0.1, 0.2, 0.3]))


@every
def test_a_saved_and_loaded_controller_goes_on_byte_for_byte(name, options, tmp_path: Path):
    whole = make(name, **options)
    kept = list(steps(whole, 5, seed=1)) + list(steps(whole, 5, seed=2))
    broken = make(name, **options)
    list(steps(broken, 5, seed=1))
    gdro.save_state(tmp_path / "state.npz", broken.state_dict())
    resumed = make(name, **options)
    resumed.load_state_dict(gdro.load_state(tmp_path / "state.npz"))
    gdro.save_state(tmp_path / "again.npz", resumed.state_dict())
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "state.npz").read_bytes()
    assert resumed.metrics().keys() == broken.metrics().keys()
    for (plan, feedback), (plan_2, feedback_2) in zip(
        kept[5:], steps(resumed, 5, seed=2), strict=True
    ):
        np.testing.assert_array_equal(plan.rollouts, plan_2.rollouts)
        np.testing.assert_array_equal(feedback.weights, feedback_2.weights)
    assert gdro.state_hash(resumed.state_dict()) == gdro.state_hash(whole.state_dict())


@every
def test_delayed_feedback_out_of_order_survives_a_restart(name, options):
    """Three plans outstanding, the middle one answered first, a restart, then the others."""
    batches = [IDS[:10], IDS[5:15], IDS[20:30]]

    def run(restart: bool) -> str:
        controller = trained(name, options, 3)
        plans = [controller.plan(batch) for batch in batches]
        rng = np.random.default_rng(5)
        rewards = [rewards_of(plan, rng) for plan in plans]
        controller.observe(batches[1], rewards[1])
        if restart:
            state = controller.state_dict()
            controller = make(name, **options)
            controller.load_state_dict(state)
        weights = [controller.observe(batches[i], rewards[i]).weights for i in (2, 0)]
        if controller.needs_losses:
            for i in (0, 2, 1):
                controller.observe_losses(batches[i], losses_of(plans[i]))
        controller.plan(batches[0])
        return gdro.state_hash(controller.state_dict() | {"weights": weights})

    assert run(restart=True) == run(restart=False)


@every
def test_bins_are_fixed_between_plan_and_answer(name, options):
    controller = trained(name, options)
    early = controller.plan(IDS[:10])
    late = controller.plan(IDS[:10])
    first = controller.observe(IDS[:10], [np.ones(n) for n in early.rollouts])
    second = controller.observe(IDS[:10], [np.zeros(n) for n in late.rollouts])
    np.testing.assert_array_equal(first.bins, early.bins)
    np.testing.assert_array_equal(second.bins, late.bins)


@every
def test_plans_can_be_cancelled_and_are_limited(name, options):
    controller = trained(name, options)
    plans = [controller.plan(IDS[:4]) for _ in range(MAX_OUTSTANDING)]
    refused(controller, PlanError, lambda: controller.plan(IDS[:4]))
    controller.cancel(plans[0])
    plan = controller.plan(IDS[4:8])
    controller.cancel(plan)
    refused(controller, PlanError, lambda: controller.cancel(plan))


@every
def test_what_a_caller_does_with_its_copies_changes_nothing(name, options):
    controller = trained(name, options)
    plan = controller.plan(IDS[:6])
    rewards = rewards_of(plan, np.random.default_rng(0))
    before = gdro.state_hash(controller.state_dict())
    state, metrics = controller.state_dict(), controller.metrics()
    plan.rollouts[:] = 99
    plan.bins[:] = 99
    metrics["share"][0] = 99.0
    state["metrics"]["share"][0] = 99.0
    state["outstanding"][0]["bins"][:] = 0
    assert gdro.state_hash(controller.state_dict()) == before
    feedback = controller.observe(IDS[:6], rewards)
    before = gdro.state_hash(controller.state_dict())
    feedback.bins[:] = 99
    feedback.weights[:] = 99.0
    assert gdro.state_hash(controller.state_dict()) == before


@every
def test_the_same_seed_gives_the_same_bytes(name, options):
    assert gdro.state_hash(trained(name, options, seed=3).state_dict()) == gdro.state_hash(
        trained(name, options, seed=3).state_dict()
    )


@pytest.mark.parametrize("name", ["rollout_gdro", "joint", "sqrt_law"])
def test_another_seed_rounds_differently(name):
    plans = [trained(name, {}, seed=seed).plan(IDS[:40]).rollouts for seed in range(4)]
    assert len({plan.tobytes() for plan in plans}) > 1


def test_the_same_bytes_in_every_process():
    """Two interpreters with other hash seeds run every controller to the same state."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_contract as t,"
        " gdro\nprint([gdro.state_hash(t.trained(name, options, 3).state_dict()) for name, options"
        " in t.VARIANTS])"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] != ""


@pytest.mark.parametrize("name", OWN)
def test_unseen_prompts_weigh_one_and_get_the_mean(name):
    controller = make(name)
    plan = controller.plan(IDS[:8])
    assert plan.bins.tolist() == [gdro.UNSEEN] * 8
    assert plan.rollouts.tolist() == [controller.mean_rollouts] * 8
    assert controller.observe(IDS[:8], [np.arange(4) % 2] * 8).weights.tolist() == [1.0] * 8
    controller = trained(name, {})
    mixed = [*IDS[:10], "new/1", "new/2"]
    plan = controller.plan(mixed)
    assert plan.rollouts[10:].tolist() == [controller.mean_rollouts] * 2
    feedback = controller.observe(mixed, [np.arange(n) % 2 for n in plan.rollouts])
    assert feedback.weights[10:].tolist() == [1.0, 1.0]


@every
@pytest.mark.parametrize("bounds", [(4, 4, 4), (1, 4, 4), (4, 4, 9), (1, 1, 1), (1, 16, 64)])
def test_narrow_and_wide_bounds(name, options, bounds):
    low, mean, high = bounds
    try:
        controller = make(name, **options, min_rollouts=low, mean_rollouts=mean, max_rollouts=high)
    except OptionError:
        assert name not in OWN
        return
    for plan, feedback in steps(controller, 4):
        assert plan.total == 24 * mean
        assert low <= plan.rollouts.min() <= plan.rollouts.max() <= high
        assert (feedback.weights > 0).all()


@every
def test_one_prompt_and_one_bin(name, options):
    controller = make(name, **options)
    for _ in range(5):
        plan = controller.plan(["alone"])
        assert plan.rollouts.tolist() == [4]
        assert controller.observe(["alone"], [[0.0, 1.0, 0.0, 1.0]]).weights[0] > 0
        if controller.needs_losses:
            controller.observe_losses(["alone"], [0.1])
    for _ in range(5):
        plan = controller.plan(IDS[:16])
        feedback = controller.observe(IDS[:16], [np.zeros(n) for n in plan.rollouts])
        assert (feedback.weights > 0).all()
        if controller.needs_losses:
            controller.observe_losses(IDS[:16], np.zeros(16))
    assert plan.total == 64


SCALARS = {
    "step",
    "batch_prompts",
    "batch_rollouts",
    "unseen_share",
    "seen_prompts",
    "reward_mean",
    "pass_rate_mean",
    "any_correct",
    "zero_variance_share",
    "weight_min",
    "weight_max",
    "demand_mean",
    "wse",
    "wse_uniform",
    "out_of_range",
}
LISTS = {"share", "mass", "reward", "pass_rate", "variance", "rollouts", "weight", "demand"}


@every
def test_metrics_have_the_documented_keys_and_types(name, options):
    controller = make(name, **options)
    assert controller.metrics() == {}
    list(steps(controller, 5))
    metrics = controller.metrics()
    assert metrics.keys() >= SCALARS | LISTS
    for key, value in metrics.items():
        if isinstance(value, list):
            assert len(value) == controller.bins or key.startswith("category_"), key
            assert all(type(entry) is float for entry in value), key
        else:
            assert type(value) in (int, float, str), key
    assert metrics["step"] == 5
    assert metrics["batch_rollouts"] == 96
    assert sum(metrics["share"]) + metrics["unseen_share"] == pytest.approx(1.0)
    json.dumps(metrics)
    documented = (Path(__file__).parents[2] / "docs" / "controllers.md").read_text()
    assert [key for key in metrics if f"`{key}`" not in documented and name in OWN] == []


@every
def test_foreign_and_damaged_states_are_refused_whole(name, options):
    controller = trained(name, options)
    controller.plan(IDS[:4])
    good = trained(name, options, 9).state_dict()
    other = "uniform" if name != "uniform" else "joint"
    refused(
        controller,
        StateError,
        lambda: controller.load_state_dict(gdro.make_controller(other).state_dict()),
    )
    for option, value in (("seed", 9), ("mean_rollouts", 5), ("correct_threshold", 0.7)):
        foreign = make(name, **(options | {"max_rollouts": 12, option: value})).state_dict()
        before = gdro.state_hash(controller.state_dict())
        with pytest.raises(StateError, match=option):
            controller.load_state_dict(foreign)
        assert gdro.state_hash(controller.state_dict()) == before
    for bad in (
        None,
        {},
        [],
        {"format": 1},
        good | {"format": 99},
        good | {"options": None},
        good | {"options": {}},
    ):
        refused(controller, StateError, lambda bad=bad: controller.load_state_dict(bad))
    for path in leaves(good):
        refused(
            controller,
            StateError,
            lambda path=path: controller.load_state_dict(damaged(good, path)),
        )
    controller.load_state_dict(good)
    assert gdro.state_hash(controller.state_dict()) == gdro.state_hash(good)


def leaves(state: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all keys, the metrics' own excepted: a state without one of them is no state."""
    for key, value in state.items():
        yield (*path, key)
        if isinstance(value, dict) and key != "metrics":
            yield from leaves(value, (*path, key))


def damaged(state: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    key, *rest = path
    if rest:
        return state | {key: damaged(state[key], tuple(rest))}
    return {name: value for name, value in state.items() if name != key}


@settings(max_examples=25)
@given(st.sampled_from(VARIANTS), st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 12))
def test_random_lives(variant, seed, size, mean):
    """Random batch sizes, means and rates: exact plans, positive weights, a state that loads."""
    name, options = variant
    low, high = max(1, mean - 3), mean + 5
    try:
        controller = make(
            name, **options, seed=seed, min_rollouts=low, mean_rollouts=mean, max_rollouts=high
        )
    except OptionError:
        assert name not in OWN
        return
    for plan, feedback in steps(controller, 4, seed, size):
        assert plan.total == size * mean
        assert (feedback.weights > 0).all()
    again = make(
        name, **options, seed=seed, min_rollouts=low, mean_rollouts=mean, max_rollouts=high
    )
    again.load_state_dict(controller.state_dict())
    assert gdro.state_hash(again.state_dict()) == gdro.state_hash(controller.state_dict())


@pytest.mark.parametrize(
    "options",
    [
        {"bins": 0},
        {"bins": "ten"},
        {"bins": 2.5},
        {"bins": True},
        {"mean_rollouts": 1.5},
        {"min_rollouts": 0},
        {"seed": "x"},
        {"reward_range": (1.0, 0.0)},
        {"reward_range": (0.0, math.inf)},
        {"reward_range": (0.0,)},
        {"reward_range": 1.0},
        {"bins": [0.5, 0.2]},
        {"bins": "ab"},
        {"correct_threshold": math.nan},
        {"eta": "3"},
        {"coupled": 1},
        {"bin": 3},
        {"estimator": {"discount": math.nan}},
        {"estimator": {"window": 1.5}},
        {"estimator": {"hysteresis": "a"}},
        {"estimator": {"statistic": 3}},
        {"estimator": {"statistic": "beta", "k": 3}},
        {"estimator": {"window": 3, "discount": 0.5}},
        {"allocator": {"arm_eta": -1.0}},
        {"allocator": {"arm": 1.0}},
        {"allocator": 3},
        {"selector": "nobody"},
        {"selector": {}},
        {"baseline": "posteriori"},
        {"mean_rollouts": 4, "max_rollouts": 3},
    ],
)
def test_options_out_of_range_are_named(options):
    name, value = list(options.items())[-1]
    word = next(reversed(value)) if isinstance(value, dict) and value else name
    with pytest.raises(OptionError, match=word):
        gdro.make_controller("joint", **options)


def test_numpy_numbers_are_fine_as_options():
    controller = gdro.make_controller(
        "joint",
        bins=np.array([0.3, 0.6]),
        eta=np.float32(2.0),
        seed=np.int32(3),
        mean_rollouts=np.int64(4),
    )
    twin = gdro.make_controller("joint", bins=[0.3, 0.6], eta=2.0, seed=3)
    twin.load_state_dict(controller.state_dict())


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'joint'"):
        gdro.make_controller("jiont")
    with pytest.raises(OptionError, match="did you mean 'eta'"):
        gdro.make_controller("joint", etta=3)
    with pytest.raises(
        OptionError, match=r"it is one of its estimator: give estimator=\{'statistic': ...\}"
    ):
        gdro.make_controller("joint", statistic="beta")
