"""What a part of somebody's own may not answer: each is an error that names class, question and
prompt, and nothing is learnt from the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import gdro

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
