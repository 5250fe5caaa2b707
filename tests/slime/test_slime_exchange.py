"""Plans, rewards and factors of a slime batch, and the settings, without slime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from slime_toy import MEAN, arguments

import gdro
from gdro.core.errors import OptionError, PlanError, RewardError
from gdro.engines.slime.exchange import Exchange
from gdro.engines.slime.settings import REFUSED, flag, read_setup

IDS = [f"toy/{place}" for place in range(5)]
GROUPS = [70, 71, 72, 73, 74]


def exchange(weighting: str = "prompt") -> Exchange:
    return Exchange(gdro.make_controller("joint", mean_rollouts=MEAN), weighting)


def rows_of(rollouts: np.ndarray) -> tuple[list[int], list[float]]:
    groups = np.repeat(GROUPS, rollouts).tolist()
    rewards = [float(turn % 4 < place) for place, n in enumerate(rollouts) for turn in range(n)]
    order = np.random.default_rng(0).permutation(len(groups))
    return [groups[i] for i in order], [rewards[i] for i in order]


@pytest.mark.parametrize("weighting", ["prompt", "row"])
def test_factors_are_those_of_the_core_whatever_the_order_of_rows(weighting: str) -> None:
    one, bare = exchange(weighting), gdro.make_controller("joint", mean_rollouts=MEAN)
    for _ in range(6):
        rollouts, plan = one.plan(IDS, GROUPS), bare.plan(IDS)
        assert rollouts.tolist() == plan.rollouts.tolist()
        assert rollouts.sum() == MEAN * len(IDS)
        groups, rewards = rows_of(rollouts)
        factors, advantages = one.observe(groups, rewards)
        assert advantages is None
        by_prompt = [[r for g, r in zip(groups, rewards, strict=True) if g == group] for group in GROUPS]
        expected = bare.observe(IDS, by_prompt).weights
        if weighting == "prompt":
            expected = expected * MEAN / rollouts
        np.testing.assert_array_equal(factors, expected[np.array(groups) - 70])
    assert len(set(rollouts.tolist())) > 1
    assert gdro.state_hash(one.controller.state_dict()) == gdro.state_hash(bare.state_dict())


def test_baselines_of_the_controller_stand_for_the_groups_mean() -> None:
    one = Exchange(gdro.make_controller("live_gdro", mean_rollouts=MEAN), "prompt")
    bare = gdro.make_controller("live_gdro", mean_rollouts=MEAN)
    groups, rewards = rows_of(one.plan(IDS, GROUPS))
    bare.plan(IDS)
    factors, advantages = one.observe(groups, rewards)
    by_prompt = [[r for g, r in zip(groups, rewards, strict=True) if g == group] for group in GROUPS]
    expected = gdro.group_advantages(by_prompt, feedback=bare.observe(IDS, by_prompt))
    assert advantages is not None
    for place, group in enumerate(GROUPS):
        np.testing.assert_allclose((factors * advantages)[np.array(groups) == group], expected[place], rtol=1e-12)


def test_batches_come_one_by_one() -> None:
    one = exchange()
    with pytest.raises(PlanError, match="never planned"):
        one.observe(GROUPS, [0.0] * 5)
    one.plan(IDS, GROUPS)
    with pytest.raises(PlanError, match="while the last batch waits"):
        one.plan(IDS, GROUPS)
    with pytest.raises(PlanError, match="4 distinct group_index"):
        exchange().plan(IDS, [1, 2, 3, 4, 4])


def test_wrong_rows_are_refused_and_the_plan_stays_open() -> None:
    one = exchange()
    groups, rewards = rows_of(one.plan(IDS, GROUPS))
    with pytest.raises(PlanError, match="the first to 99"):
        one.observe([99, *groups[1:]], rewards)
    with pytest.raises(PlanError, match="the first to None"):
        one.observe([None, *groups[1:]], rewards)
    with pytest.raises(RewardError, match="was planned 4 rollouts but has 3 rewards"):
        one.observe(groups[1:], rewards[1:])
    with pytest.raises(RewardError, match="toy/"):
        one.observe(groups, [float("nan"), *rewards[1:]])
    assert one.controller.steps_seen == 0
    one.observe(groups, rewards)
    assert one.controller.steps_seen == 1


def test_settings_are_read_from_the_custom_configuration(tmp_path: Path) -> None:
    setup = read_setup(arguments(tmp_path, gdro={"controller": "rollout_gdro", "weighting": "row", "max_rollouts": 9}))
    assert setup.controller.name == "rollout_gdro"
    assert (setup.controller.mean_rollouts, setup.controller.max_rollouts) == (MEAN, 9)
    assert (setup.weighting, setup.fresh, setup.id_key) == ("row", False, "id")
    args = arguments(tmp_path)
    del args.gdro
    assert read_setup(args).controller.name == "prompt_gdro"
    assert read_setup(arguments(tmp_path, gdro={"id_key": "uid"})).id_key == "uid"
    setup = read_setup(arguments(tmp_path, gdro={"controller": "live_gdro", "candidates": 8}))
    assert (setup.controller.selects, setup.candidates) == (True, 8)


@pytest.mark.parametrize(
    ("gdro_section", "message"),
    [
        ({"etaa": 3}, "did you mean 'eta'"),
        ({"controller": "jiont"}, "did you mean 'joint'"),
        ({"mean_rollouts": 4}, "--n-samples-per-prompt"),
        ({"signal": "surrogate"}, "needs each prompt's loss"),
        ({"controller": "mopps", "candidates": 1}, "at least 2 candidates"),
        ({"candidates": 4}, "does not select prompts"),
        ({"id_key": 3}, "id_key"),
        ({"weighting": "token"}, "must be prompt or row"),
        (["joint"], "must hold keys"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, gdro_section: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_setup(arguments(tmp_path, gdro=gdro_section))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "some.path") for name in REFUSED),
        ("rollout_function_path", "slime.rollout.fully_async_rollout.generate_rollout_fully_async"),
        ("custom_reward_post_process_path", None),
        ("over_sampling_batch_size", 20),
        ("advantage_estimator", "ppo"),
        ("n_samples_per_prompt", 1),
    ],
)
def test_arguments_that_do_not_go_with_a_plan_are_named(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(OptionError, match=flag(name)):
        read_setup(arguments(tmp_path, **{name: value}))


def test_switches_that_take_the_ground_away_are_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--disable-rollout-global-dataset"):
        read_setup(arguments(tmp_path, rollout_global_dataset=False))
    with pytest.raises(OptionError, match=r"--disable-grpo-std-normalization does not go with controller 'live_gdro'"):
        read_setup(arguments(tmp_path, grpo_std_normalization=False, gdro={"controller": "live_gdro"}))
    told = read_setup(arguments(tmp_path, grpo_std_normalization=False, gdro={"controller": "maxrl"})).controller
    assert (told.advantage, told.ddof) == ("dr_grpo", 1)
    with pytest.raises(OptionError, match="--disable-rewards-normalization"):
        read_setup(arguments(tmp_path, rewards_normalization=False))
