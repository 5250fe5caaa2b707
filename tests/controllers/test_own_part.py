"""A part of the user's own, from a file: taken by every door; and what it may not answer, each an
error that names class, question and prompt, with nothing learnt from the step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import gdro
from gdro.config import ConfigError, load_config
from gdro.config import controller_of as controller_of_run
from gdro.controllers.controller import Controller
from gdro.controllers.part import BETA
from gdro.controllers.parts import Parts
from gdro.controllers.parts.estimators import Classifier
from gdro.engines.trl.config import GDROConfig, default_controller
from gdro.lab.compare_plan import jobs_of, read_plan
from gdro.lab.simulation import controller_of

BEHIND = f"{Path(__file__).parents[2] / 'examples' / 'own_part.py'}:Behind"

HEAD = """from dataclasses import dataclass
from typing import ClassVar
import gdro
"""


@dataclass(kw_only=True, eq=False)
class ByRate(gdro.Selector):
    """Reads the success rate, which is NaN where nothing is known."""

    name: ClassVar[str] = "by_rate"

    def rank(self, batch):
        return batch.belief.rate


@dataclass(kw_only=True, eq=False)
class ByPosterior(gdro.Selector):
    """Reads a posterior that it does not ask for."""

    name: ClassVar[str] = "by_posterior"

    def rank(self, batch):
        a, b = batch.belief.beta
        return a / (a + b)


@dataclass(kw_only=True, eq=False)
class Asking(ByPosterior):
    """The same, which asks."""

    needs: ClassVar = frozenset({BETA})
    name: ClassVar[str] = "asking"


def test_every_door_takes_it(tmp_path):
    config = load_config(None, [f"controller={BEHIND}", "controller.boost=4"])
    assert config.controller.options["boost"] == 4
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"name: a\nseeds: [1]\nmethods: {{mine: {{controller: {{name: '{BEHIND}', boost:"
        " 4.0}}}\n"
    )
    (job,) = jobs_of(read_plan(plan), tmp_path)
    made = [
        gdro.make_controller(BEHIND, boost=4.0),
        controller_of(f"{BEHIND}:boost=4"),
        controller_of_run(config),
        controller_of_run(job.config),
        default_controller(
            GDROConfig(
                str(tmp_path),
                controller=BEHIND,
                controller_options={"boost": 4.0},
                bf16=False,
                use_cpu=True,
            )
        ),
    ]
    assert {one.parts.weigher.boost for one in made} == {4.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Mine = 3", "is neither a part nor a preset"),
        ("Other = 3", "has no part 'Mine'"),
        ("class Mine(gdro.Weigher): pass", "a saved state goes by a name of its own"),
        (
            "class Mine(gdro.Weigher):\n    boost: float = 1.0\n    name: ClassVar[str] = 'mine'",
            "boost is no option yet; write @dataclass",
        ),
    ],
)
def test_what_is_wrong_with_it_is_said(tmp_path, text, said):
    file = tmp_path / "mine.py"
    file.write_text(f"{HEAD}\n\n{text}\n")
    with pytest.raises(gdro.OptionError, match=said):
        gdro.make_controller(f"{file}:Mine")
    with pytest.raises(ConfigError, match=f"controller.name.*{said}"):
        load_config(None, [f"controller={file}:Mine"])


def test_a_file_that_is_not_there_and_an_option_that_is_not():
    with pytest.raises(
        ConfigError, match=r"controller.name.*file 'nowhere/mine.py' does not exist"
    ):
        load_config(None, ["controller=nowhere/mine.py:Mine"])
    with pytest.raises(ConfigError, match=r"controller.bost.*did you mean 'boost'\?"):
        load_config(None, [f"controller={BEHIND}", "controller.bost=4"])


@pytest.mark.parametrize("selector", [ByRate, ByPosterior])
def test_a_part_that_reads_what_it_did_not_ask_for_is_told_how_to_ask(selector):
    controller = Controller(
        Parts(estimator=Classifier(statistic="mean_reward"), selector=selector())
    )
    with pytest.raises(gdro.HookError) as caught:
        controller.select(["s/1", "s/2"], 1)
    assert "needs: ClassVar = frozenset({BETA})" in str(caught.value)
    asks = gdro.make_controller({"selector": Asking()})
    assert sorted(asks.select(["s/1", "s/2"], 2)) == ["s/1", "s/2"]


IDS = ["a/0", "a/1"]
KINDS = {
    "weigh": ("weigher", gdro.Weigher),
    "allocate": ("allocator", gdro.Allocator),
    "terms": ("baseline", gdro.Baseline),
    "rank": ("selector", gdro.Selector),
}


def _own(question: str, answer: Any) -> gdro.Controller:
    """A controller with one part that answers the given value whatever it is asked."""
    slot, kind = KINDS[question]

    @dataclass(kw_only=True, eq=False)
    class Mine(kind):
        name: ClassVar[str] = "mine"

    def ask(self: Any, *asked: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    setattr(Mine, question, ask)
    return gdro.make_controller("uniform", **{slot: Mine()})


def _step(controller: gdro.Controller) -> None:
    controller.plan(IDS)
    controller.observe(IDS, [[0, 1, 0, 1]] * 2)


EVEN = np.full(10, 4.0)
Plan = gdro.Allocation


@pytest.mark.parametrize(
    ("question", "answer", "said"),
    [
        (
            "weigh",
            np.array([1.0, np.nan]),
            "Mine.weigh answered nan for prompt 'a/1'; weights are finite and posi",
        ),
        ("weigh", np.array([-1.0, 1.0]), "Mine.weigh answered -1.0 for prompt 'a/0'"),
        ("weigh", np.zeros(2), "Mine.weigh answered 0.0"),
        (
            "weigh",
            np.ones(3),
            r"Mine.weigh answered float64 of shape \(3,\); it is one weight for each prompt",
        ),
        ("weigh", None, "Mine.weigh answered object"),
        (
            "allocate",
            Plan(np.array([9, 9])),
            "allocate answered 18 rollouts for 2 prompts; the budget is exactly",
        ),
        ("allocate", Plan(np.array([4.0, 4.0])), "of type float64; they are whole numbers"),
        (
            "allocate",
            Plan(np.array([7, 1])),
            "answered 1 for prompt 'a/1'; rollouts lie from min_rollouts=2 to",
        ),
        ("allocate", Plan(np.array([4, 4]), EVEN[:3]), "a demand for each bin, of shape"),
        ("allocate", Plan(np.array([4, 4]), EVEN * np.inf), "answered the demand inf of a bin"),
        ("allocate", np.array([4, 4]), "answered a ndarray; it is a gdro.Allocation"),
        (
            "terms",
            (np.zeros(2), np.zeros(2)),
            "answered 0.0 for prompt 'a/0'; deviations are finite and",
        ),
        (
            "terms",
            (np.full(2, np.inf), np.ones(2)),
            "answered inf for prompt 'a/0'; baselines are finite",
        ),
        ("terms", np.zeros(2), "it is a pair, baselines and deviations, or None"),
    ],
)
def test_a_wrong_answer_of_a_step_is_named(question, answer, said):
    controller = _own(question, answer)
    with pytest.raises(gdro.HookError, match=said):
        _step(controller)
    assert controller.steps_seen == 0
    assert controller.belief(IDS).visits.tolist() == [0, 0]


@pytest.mark.parametrize("question", ["weigh", "terms"])
def test_an_exception_of_a_part_comes_through_and_the_plan_is_still_there(question):
    controller = _own(question, ZeroDivisionError("mine"))
    with pytest.raises(ZeroDivisionError, match="mine"):
        _step(controller)
    (waiting,) = controller.state_dict()["outstanding"]
    assert waiting["rollouts"].tolist() == [4, 4]


@pytest.mark.parametrize(
    ("rank", "said"),
    [
        (np.array([0.0, np.nan]), "Mine.rank answered nan for prompt 'a/1'; ranks are numbers"),
        (np.zeros(3), "one rank for each candidate"),
    ],
)
def test_a_wrong_rank_is_named(rank, said):
    with pytest.raises(gdro.HookError, match=said):
        _own("rank", rank).select(IDS, 1)


def test_whole_numbers_of_any_kind_are_right():
    plan = _own("allocate", Plan(np.array([2, 6], np.int32), EVEN)).plan(IDS)
    assert plan.rollouts.tolist() == [2, 6]


def test_what_is_no_plan_and_no_feedback_is_told():
    controller = gdro.make_controller("uniform")
    plan = controller.plan(IDS)
    with pytest.raises(
        gdro.PlanError, match=r"cancel and amend take the Plan that plan\(\) gave, not a list"
    ):
        controller.cancel(IDS)
    with pytest.raises(
        gdro.OptionError, match=r"feedback is a Plan; give what Controller\.observe answered"
    ):
        gdro.group_advantages([[0, 1], [1, 1]], feedback=plan)
    with pytest.raises(gdro.OptionError, match="controller=3 is no name"):
        gdro.make_controller(3)
