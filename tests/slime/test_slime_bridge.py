"""Plans, rewards and factors of a slime batch, and the settings, without slime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from slime_toy import MEAN, arguments

import gdro
from gdro.core.errors import OptionError, PlanError
from gdro.engines.compat import DEFAULT_CONTROLLER
from gdro.engines.session import ControllerSession
from gdro.engines.slime.bridge import DDOF, EPSILON, SlimeBridge
from gdro.engines.slime.settings import REFUSED, flag, read_setup

IDS = [f"toy/{place}" for place in range(5)]
GROUPS = [70, 71, 72, 73, 74]


def bridge(weighting: str = "prompt", name: str = "joint") -> SlimeBridge:
    return SlimeBridge(ControllerSession(gdro.make_controller(name, mean_rollouts=MEAN), weighting))


def rows_of(rollouts: np.ndarray) -> tuple[list[int], list[float]]:
    groups = np.repeat(GROUPS, rollouts).tolist()
    rewards = [float(turn % 4 < place) for place, n in enumerate(rollouts) for turn in range(n)]
    order = np.random.default_rng(0).permutation(len(groups))
    return [groups[i] for i in order], [rewards[i] for i in order]


@pytest.mark.parametrize("weighting", ["prompt", "row"])
@pytest.mark.parametrize("name", ["joint", "live_gdro"])
def test_advantages_are_those_of_the_core_whatever_the_order_of_rows(
    name: str, weighting: str
) -> None:
    one, bare = bridge(weighting, name), gdro.make_controller(name, mean_rollouts=MEAN)
    for _ in range(6):
        rollouts, plan = one.plan(IDS, GROUPS), bare.plan(IDS)
        assert rollouts.tolist() == plan.rollouts.tolist()
        assert rollouts.sum() == MEAN * len(IDS)
        groups, rewards = rows_of(rollouts)
        found = one.observe(groups, rewards)
        by_prompt = [
            [r for g, r in zip(groups, rewards, strict=True) if g == group] for group in GROUPS
        ]
        feedback = bare.observe(IDS, by_prompt)
        expected = gdro.group_advantages(by_prompt, epsilon=EPSILON, ddof=DDOF, feedback=feedback)
        for place, group in enumerate(GROUPS):
            scale = MEAN / rollouts[place] if weighting == "prompt" else 1.0
            np.testing.assert_allclose(
                found[np.array(groups) == group], expected[place] * scale, rtol=1e-12
            )
    assert name == "live_gdro" or len(set(rollouts.tolist())) > 1
    assert gdro.state_hash(one.session.controller.state_dict()) == gdro.state_hash(
        bare.state_dict()
    )


def test_the_tokens_of_a_prompt_are_those_of_its_samples() -> None:
    one = SlimeBridge(
        ControllerSession(
            gdro.make_controller("live_gdro", mean_rollouts=MEAN, selector={"token_power": 1.0})
        )
    )
    groups, rewards = rows_of(one.plan(IDS, GROUPS))
    told: dict[str, float] = {}
    one.session.controller.observe_tokens = lambda ids, values: told.update(
        zip(ids, values.tolist(), strict=True)
    )
    tokens = [group - 60 + 2 * (turn % 2) for turn, group in enumerate(groups)]
    one.observe(groups, [None, *rewards[1:]], tokens)
    for prompt, group in zip(IDS, GROUPS, strict=True):
        mine = [count for count, of in zip(tokens, groups, strict=True) if of == group]
        assert told[prompt] == sum(mine) / len(mine)


def test_strange_groups_are_refused() -> None:
    with pytest.raises(PlanError, match="4 distinct group_index"):
        bridge().plan(IDS, [1, 2, 3, 4, 4])
    one = bridge()
    groups, rewards = rows_of(one.plan(IDS, GROUPS))
    with pytest.raises(PlanError, match="the first to 99"):
        one.observe([99, *groups[1:]], rewards)
    with pytest.raises(PlanError, match="the first to None"):
        one.observe([None, *groups[1:]], rewards)


def test_settings_are_read_from_the_custom_configuration(tmp_path: Path) -> None:
    setup = read_setup(
        arguments(
            tmp_path, gdro={"controller": "rollout_gdro", "weighting": "row", "max_rollouts": 9}
        )
    )
    assert setup.controller.name == "rollout_gdro"
    assert (setup.controller.mean_rollouts, setup.controller.max_rollouts) == (MEAN, 9)
    assert (setup.section.weighting, setup.section.fresh, setup.id_key) == ("row", False, "id")
    args = arguments(tmp_path)
    del args.gdro
    assert read_setup(args).controller.name == DEFAULT_CONTROLLER
    assert read_setup(arguments(tmp_path, gdro={"id_key": "uid"})).id_key == "uid"
    setup = read_setup(arguments(tmp_path, gdro={"controller": "live_gdro", "candidates": 8}))
    assert (setup.controller.selects, setup.section.candidates) == (True, 8)


@pytest.mark.parametrize(
    ("gdro_section", "message"),
    [
        ({"etaa": 3}, "did you mean 'eta'"),
        ({"controller": "jiont"}, "did you mean 'joint'"),
        ({"mean_rollouts": 4}, "--n-samples-per-prompt"),
        (
            {"controller": "paper"},
            "needs each prompt's surrogate loss, and slime does",
        ),
        ({"controller": "mopps", "candidates": 1}, "at least 2 candidates"),
        ({"controller": "joint", "candidates": 4}, "does not select prompts"),
        ({"id_key": 3}, "id_key"),
        ({"weighting": "token"}, "must be prompt or row"),
        ({"objective": "dppo"}, "not for slime"),
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
def test_arguments_that_do_not_go_with_a_plan_are_named(
    tmp_path: Path, name: str, value: object
) -> None:
    with pytest.raises(OptionError, match=flag(name)):
        read_setup(arguments(tmp_path, **{name: value}))


def test_switches_that_take_the_ground_away_are_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--disable-rollout-global-dataset"):
        read_setup(arguments(tmp_path, rollout_global_dataset=False))
    live = arguments(tmp_path, grpo_std_normalization=False, gdro={"controller": "live_gdro"})
    assert read_setup(live).controller.sets_baselines
    told = read_setup(
        arguments(tmp_path, grpo_std_normalization=False, gdro={"controller": "maxrl"})
    ).controller
    assert told.parts.weigher.advantage == "dr_grpo"
    with pytest.raises(OptionError, match="--disable-rewards-normalization"):
        read_setup(arguments(tmp_path, rewards_normalization=False))
