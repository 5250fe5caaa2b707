"""What is refused of a controller, once and in one wording, whatever the engine."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

import gdro
from gdro.core.errors import OptionError
from gdro.engines.candidates import CandidatePool
from gdro.engines.compat import DEFAULT_CONTROLLER, EngineTraits, build_controller, check_engine
from gdro.engines.interface import MEMBERS, leaves_choice

ENGINE = EngineTraits(
    name="an engine",
    mean_rollouts=4,
    mean_setting="samples",
    advantage="grpo",
    ddof=1,
    advantage_hint="estimator=grpo",
)


@pytest.mark.parametrize("name", gdro.controller_names())
def test_an_engine_that_can_do_everything_takes_every_controller(name: str) -> None:
    controller = build_controller(name, {}, ENGINE)
    assert controller.mean_rollouts == 4
    check_engine(gdro.make_controller(name, run={"ddof": 1}), ENGINE)


@pytest.mark.parametrize(
    ("traits", "name", "options", "message"),
    [
        (
            {"mean_rollouts": 8},
            "joint",
            {},
            "'joint' plans 4 rollouts a prompt on average, samples is 8; make them eq",
        ),
        (
            {"no_losses": "it has none"},
            "paper",
            {},
            "needs each prompt's loss, and it has none; choose signal=",
        ),
        (
            {"no_texts": "it reads none"},
            "live_gdro",
            {"estimator": "text_posterior"},
            "'live_gdro' reads the prompts' texts, and it reads none; take the estimator source_",
        ),
        (
            {"no_baselines": "it cannot"},
            "live_gdro",
            {},
            "a baseline of its own, and it cannot; set its option base",
        ),
        (
            {"advantage": "rloo"},
            "live_gdro",
            {},
            "does not go with the advantage 'rloo'; set estimator=grpo, or",
        ),
        (
            {"advantage": "gae"},
            "daro",
            {},
            "advantage='grpo' of weigher 'daro': it corrects for the engine's adv",
        ),
        ({"ddof": 0}, "maxrl", {"ddof": 1}, "which has ddof=0; make them agree"),
        (
            {"least_rollouts": 2, "least_reason": "one is none"},
            "joint",
            {"min_rollouts": 1},
            "min_rollouts=1 of controller 'joint' must be at least 2 in an engine: one is none",
        ),
        (
            {"no_choice": "it has no pool"},
            "mopps",
            {},
            "chooses the prompts, and it has no pool; take a controller",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    traits: dict, name: str, options: dict, message: str
) -> None:
    controller = gdro.make_controller(name, **options)
    with pytest.raises(OptionError, match=message):
        check_engine(controller, replace(ENGINE, **traits))


@pytest.mark.parametrize("advantage", ["grpo", "dr_grpo", "batch"])
def test_a_controllers_own_baseline_goes_with_these(advantage: str) -> None:
    traits = replace(ENGINE, advantage=advantage)
    assert build_controller("live_gdro", {}, traits).sets_baselines
    corrected = build_controller("maxrl", {}, traits).parts.weigher.advantage
    assert corrected == ("grpo" if advantage == "grpo" else "dr_grpo")


def test_the_engines_own_settings_are_filled_in() -> None:
    bounds = {}
    for mean in (2, 4, 16):
        made = build_controller("joint", {}, replace(ENGINE, mean_rollouts=mean))
        bounds[mean] = (made.mean_rollouts, made.max_rollouts)
    assert bounds == {2: (2, 12), 4: (4, 12), 16: (16, 48)}
    assert build_controller("joint", {"max_rollouts": 20}, ENGINE).max_rollouts == 20
    composed = {"selector": "mopps", "allocator": "sqrt_law"}
    assert build_controller(composed, {}, ENGINE, candidates=8).selects
    with pytest.raises(OptionError, match="mean_rollouts is set by samples; remove it"):
        build_controller("joint", {"mean_rollouts": 4}, ENGINE)


def test_candidates_are_for_controllers_that_select() -> None:
    with pytest.raises(
        OptionError, match="candidates=4: controller 'joint' does not select prompts"
    ):
        build_controller("joint", {}, ENGINE, candidates=4)
    for few in (1, True, "many"):
        with pytest.raises(OptionError, match="'mopps' selects prompts and would have no choice"):
            build_controller("mopps", {}, ENGINE, candidates=few)
    assert build_controller("mopps", {}, ENGINE, candidates=2).selects


def test_what_is_no_controller_is_named() -> None:
    for wrong in ("joint", gdro.Controller):
        with pytest.raises(
            OptionError, match=r"is no controller yet: make one with gdro\.make_controller"
        ):
            check_engine(wrong, ENGINE)
    half = SimpleNamespace(
        **{name: None for name in MEMBERS if name not in ("select", "min_rollouts")}
    )
    with pytest.raises(
        OptionError,
        match=r"SimpleNamespace is no controller, it lacks min_rollouts, select; derive",
    ):
        check_engine(half, ENGINE)


def test_every_controller_meets_the_interface() -> None:
    for name in gdro.controller_names():
        assert all(hasattr(gdro.make_controller(name), member) for member in MEMBERS)


def test_rounds_go_with_controllers_that_leave_the_choice() -> None:
    leave = {name for name in gdro.controller_names() if leaves_choice(gdro.make_controller(name))}
    assert {"uniform", "prompt_gdro", "maxrl"} <= leave
    assert leave.isdisjoint({"joint", "live_gdro", "paper", "paper_prompt", "mopps", "sqrt_law"})


def test_the_default_acts_before_a_prompt_comes_again() -> None:
    """It selects, and its baselines act, in the first step; the others of the paper's family weigh
    1 then."""
    controller = gdro.make_controller(DEFAULT_CONTROLLER, mean_rollouts=4)
    ids = [f"a/{i}" for i in range(8)]
    assert controller.selects
    controller.plan(ids)
    assert controller.observe(ids, [[0, 0, 0, 1]] * 8).baselines is not None


def test_a_pool_gives_rows_by_id_and_fetches_only_those_it_lacks() -> None:
    asked = []

    def fetch(places):
        asked.append(list(places))
        return [f"row {place}" for place in places]

    pool = CandidatePool(gdro.make_controller("mopps"), [f"a/{i}" for i in range(9)], 2, 0, fetch)
    assert pool.rows(["a/3", "a/1", "a/7"], {"a/1": "known"}) == ["row 3", "known", "row 7"]
    assert pool.rows(["a/1"], {"a/1": "known"}) == ["known"]
    assert asked == [[3, 7]]
