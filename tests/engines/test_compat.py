"""What is refused of a controller, once and in one wording, whatever the engine."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import gdro
from gdro.config import TrainConfig, controller_of, load_config
from gdro.core.errors import OptionError, PromptIdError, StateError
from gdro.engines.candidates import CandidatePool, tell, text_of
from gdro.engines.compat import (
    DEFAULT_CONTROLLER,
    EngineTraits,
    build_controller,
    check_engine,
    check_settings,
)
from gdro.engines.interface import MEMBERS, leaves_choice
from gdro.engines.section import read_section
from gdro.engines.session import ControllerSession
from gdro.engines.states import load_session, save_session

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
            "needs each prompt's surrogate loss, and it has none; choose signal=",
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
            {"objective": "disco"},
            "paper",
            {},
            "needs each prompt's surrogate loss, and objective 'disco' is a loss on whole groups",
        ),
        (
            {"rounds": "hora"},
            "joint",
            {},
            "rounds hora takes the place of a controller's choice, and controller 'joint'",
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "disco", "beta": 0.1}, r"^beta=0\.1: must be 0 with objective disco"),
        ({"rounds": "twice"}, r"^rounds='twice': choose one of dynamic_sampling, reinforce_ada"),
        ({"rounds_within_budget": True}, r"^rounds_within_budget=True: needs rounds"),
        (
            {"rounds": "hora", "rounds_within_budget": True, "num_iterations": 2},
            r"^num_iterations=2: must be 1 with rounds_within_budget",
        ),
        (
            {"rounds": "reinforce_ada", "advantage": "rloo"},
            r"^advantage='rloo': rounds reinforce_ada has a mean .*; set estimator=grpo",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused_whatever_the_controller(
    settings: dict, message: str
) -> None:
    check_settings(ENGINE)
    with pytest.raises(OptionError, match=message):
        check_settings(replace(ENGINE, **settings))


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


def test_a_wrong_key_of_the_gdro_section_is_named() -> None:
    with pytest.raises(OptionError, match=r"^gdro\.weighting='token' must be prompt or row$"):
        read_section({"weighting": "token"})


def test_one_default_in_every_engine() -> None:
    """It is named once; `gdro train` without settings, its default recipe, TRL, verl and slime."""
    trl = pytest.importorskip("gdro.engines.trl", exc_type=ImportError)
    makes = gdro.make_controller(DEFAULT_CONTROLLER, mean_rollouts=4)
    assert trl.GDROConfig.__dataclass_fields__["controller"].default == DEFAULT_CONTROLLER
    assert read_section(None).controller == DEFAULT_CONTROLLER
    assert read_section(None).build(ENGINE).options() == makes.options()
    for config in (TrainConfig(num_generations=4), load_config("default")):
        assert config.controller.name == DEFAULT_CONTROLLER
        assert controller_of(config).parts.options() == makes.parts.options()


def test_the_default_needs_no_labels() -> None:
    """Of prompts that carry one name it expects more where texts like theirs were right."""
    controller = gdro.make_controller(DEFAULT_CONTROLLER, mean_rollouts=4)
    texts = {f"data/{i}": "what is 1 + 1?" if i % 2 else "prove it" for i in range(80)}
    controller.describe(list(texts), list(texts.values()))
    for start in range(0, 64, 8):
        ids = list(texts)[start : start + 8]
        controller.plan(ids)
        controller.observe(ids, [[float(i % 2)] * 4 for i in range(start, start + 8)])
    rate = controller.belief(list(texts)[64:]).rate
    assert rate[1::2].min() > rate[0::2].max() + 0.5


def test_the_default_acts_before_a_prompt_comes_again() -> None:
    """It selects, and its baselines act, in the first step; the others of the paper's family weigh
    1 then."""
    controller = gdro.make_controller(DEFAULT_CONTROLLER, mean_rollouts=4)
    ids = [f"a/{i}" for i in range(8)]
    controller.describe(ids, ids)
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


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ([], ""),
        ([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}], "a\nb"),
        ([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "c"}]}], "c"),
        ([{"role": "user", "content": [{"type": "image", "image": object()}]}], ""),
        ([{"role": "user", "content": {"type": "text", "text": "d"}}], "d"),
        ([{"role": "assistant", "content": None, "tool_calls": [{}]}], ""),
        (np.array([{"role": "user", "content": np.array(["e", "f"], object)}]), "e\nf"),
    ],
)
def test_the_text_of_a_prompt(prompt: object, text: str) -> None:
    assert text_of(prompt) == text


@pytest.mark.parametrize("prompt", [None, 3, ["a"], {"role": "user", "content": "a"}, [{"x": 1}]])
def test_what_is_neither_text_nor_chat_is_named(prompt: object) -> None:
    reads = gdro.make_controller(DEFAULT_CONTROLLER)
    with pytest.raises(PromptIdError, match=r"prompt 'x/1' is neither a text nor a chat.*source_p"):
        tell(reads, {"x/0": "fine", "x/1": prompt})
    assert len(reads.facts.texts) == 0
    tell(gdro.make_controller("joint"), {"x/1": prompt})  # which reads none


def reading(ids: list[str], asked: list[int]) -> ControllerSession:
    """The default with a pool that writes down whose texts it reads."""

    def prompts(places):
        asked.extend(places)
        return [f"what is {place}?" for place in places]

    controller = gdro.make_controller(DEFAULT_CONTROLLER)
    pool = CandidatePool(controller, ids, 2, 0, lambda places: list(places), prompts)
    return ControllerSession(controller, pool=pool)


def test_a_resumed_session_tells_texts_again_and_goes_on_as_if_nothing_had_happened() -> None:
    ids = [f"x/{i}" for i in range(200)]

    def batches(session: ControllerSession, numbers: range) -> list[list[str]]:
        chosen = []
        for number in numbers:
            drawn = {ids[place]: place for place in range(4 * number, 4 * number + 4)}
            chosen.append(list(session.choose(drawn, number)))
            session.plan(chosen[-1])
            session.observe([[float(len(name) % 2), 1.0, 0.0, 1.0] for name in chosen[-1]])
        return chosen

    asked: list[int] = []
    whole = reading(ids, asked)
    first = batches(whole, range(5))
    assert len(asked) == len(set(asked)) < 200
    assert len(whole.controller.facts.texts) == len(asked)
    state = whole.state_dict()
    again = reading(ids, [])
    again.load_state_dict(state)
    assert batches(again, range(5, 9)) == batches(whole, range(5, 9)) != first
    assert gdro.state_hash(again.state_dict()) == gdro.state_hash(whole.state_dict())


def test_a_state_of_before_the_texts_is_refused_by_name(tmp_path) -> None:
    old = ControllerSession(gdro.make_controller("live_gdro"))
    save_session(tmp_path / "gdro.npz", old, {"engine": "an engine"}, {})
    with pytest.raises(
        StateError,
        match=r"written by an engine with controller 'live_gdro'.*'text_gdro'",
    ):
        load_session(tmp_path / "gdro.npz", reading([], []))


def test_a_row_is_asked_for_its_text_only_where_texts_are_read() -> None:
    def prompt_of(row):
        raise AssertionError("nobody reads it")

    session = ControllerSession(gdro.make_controller("joint"), prompt_of=prompt_of)
    assert session.choose({"x/1": 7}, 0) == {"x/1": 7}
    reads = gdro.make_controller({"estimator": "text_posterior", "allocator": "shadow_price"})
    session = ControllerSession(reads, prompt_of="what is {}?".format)
    session.choose({"x/1": 7, "x/2": 8}, 0)
    assert len(reads.facts.texts) == 2
