"""What a controller of somebody's own may not answer: each is an error that names class, hook and prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import gdro

IDS = ["a/0", "a/1"]


def _own(**hooks: Any) -> gdro.Controller:
    """A controller with these hooks; each answers the given value whatever it is asked."""
    answers = {name: (lambda *asked, answer=answer: answer) for name, answer in hooks.items()}

    @dataclass(kw_only=True, eq=False)
    class Mine(gdro.Controller):
        name: ClassVar[str] = "mine"
        selects: ClassVar[bool] = True

    for hook, answer in answers.items():
        setattr(Mine, hook, answer)
    return Mine()


def _step(controller: gdro.Controller) -> None:
    controller.plan(IDS)
    controller.observe(IDS, [[0, 1, 0, 1]] * 2)


EVEN = np.full(10, 4.0)


@pytest.mark.parametrize(
    ("hook", "answer", "said"),
    [
        ("_weigh", np.array([1.0, np.nan]), "Mine._weigh answered nan for prompt 'a/1'; weights are finite and posi"),
        ("_weigh", np.array([-1.0, 1.0]), "Mine._weigh answered -1.0 for prompt 'a/0'"),
        ("_weigh", np.zeros(2), "Mine._weigh answered 0.0"),
        ("_weigh", np.ones(3), r"Mine._weigh answered float64 of shape \(3,\); it is one weight for each prompt"),
        ("_weigh", None, "Mine._weigh answered object"),
        ("_allocate", (np.array([9, 9]), EVEN), "_allocate answered 18 rollouts for 2 prompts; the budget is exactly"),
        ("_allocate", (np.array([4.0, 4.0]), EVEN), "of type float64; they are whole numbers"),
        ("_allocate", (np.array([7, 1]), EVEN), "answered 1 for prompt 'a/1'; rollouts lie from min_rollouts=2 to"),
        ("_allocate", (np.array([4, 4]), EVEN[:3]), "a demand for each bin, of shape"),
        ("_allocate", (np.array([4, 4]), EVEN * np.inf), "answered the demand inf of a bin"),
        ("_advantage_terms", (np.zeros(2), np.zeros(2)), "answered 0.0 for prompt 'a/0'; deviations are finite and"),
        ("_advantage_terms", (np.full(2, np.inf), np.ones(2)), "answered inf for prompt 'a/0'; baselines are finite"),
        ("_advantage_terms", np.zeros(2), "it is a pair, baselines and deviations, or None"),
    ],
)
def test_a_wrong_answer_of_a_step_is_named(hook, answer, said):
    with pytest.raises(gdro.HookError, match=said):
        _step(_own(**{hook: answer}))


@pytest.mark.parametrize(
    ("rank", "said"),
    [
        (np.array([0.0, np.nan]), "Mine._rank answered nan for prompt 'a/1'; ranks are numbers"),
        (np.zeros(3), "one rank for each candidate"),
    ],
)
def test_a_wrong_rank_is_named(rank, said):
    with pytest.raises(gdro.HookError, match=said):
        _own(_rank=rank).select(IDS, 1)


def test_whole_numbers_of_any_kind_are_right():
    plan = _own(_allocate=(np.array([2, 6], np.int32), EVEN), _weigh=np.array([1, 2])).plan(IDS)
    assert plan.rollouts.tolist() == [2, 6]


def test_what_is_no_plan_and_no_feedback_is_told():
    controller = gdro.make_controller("uniform")
    plan = controller.plan(IDS)
    with pytest.raises(gdro.PlanError, match=r"cancel takes the Plan that plan\(\) gave, not a list"):
        controller.cancel(IDS)
    with pytest.raises(gdro.OptionError, match=r"feedback is a Plan; give what Controller\.observe answered"):
        gdro.group_advantages([[0, 1], [1, 1]], feedback=plan)
    with pytest.raises(gdro.OptionError, match="controller=None is no name; known: uniform"):
        gdro.make_controller(None)
