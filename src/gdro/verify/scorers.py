"""From a scorer's name to the function that a worker runs. Imported in the workers; heavy libraries load
here.
"""

from __future__ import annotations

import importlib
import math
import numbers
from collections.abc import Callable
from typing import Any

from gdro.data.prompts import Prompt
from gdro.own_code import OwnCodeError, load_own
from gdro.verify import causes
from gdro.verify.types import GoldError, Outcome, RewardFunctionError, Scorer, ScorerSpec, Task, VerifierError
from gdro.verify.warmup import FORMS


def preload(spec: ScorerSpec) -> None:
    """Import and warm up, in the nursery, what every worker of this kind needs.

    A user's module is never loaded here: it may start threads, which do not survive a fork.
    """
    if spec.kind == "math":
        module = importlib.import_module("gdro.verify.math")
        for form in FORMS:
            module.parse_answer(form)
        module.score(Task("", r"\boxed{\sqrt{2}+1}", "x + 1"))
    elif spec.kind == "reasoning_gym":
        importlib.import_module("gdro.data.reasoning_gym")
        importlib.import_module("reasoning_gym")


def load_scorer(spec: ScorerSpec) -> Scorer:
    """The function to run on each task.

    Raises:
        VerifierError: the kind is unknown or the user's function is not where the spec says.
    """
    if spec.kind in ("math", "exact"):
        module = importlib.import_module(f"gdro.verify.{spec.kind}")
        return checking(module.score, module.check_gold)
    if spec.kind == "reasoning_gym":
        grade = importlib.import_module("gdro.data.reasoning_gym").score
        return checking(lambda task: _graded(grade(_prompt(task), task.completion)), lambda gold: None)
    if spec.kind == "function":
        return checking(_user_scorer(load_function(spec.function), spec.function), lambda gold: None)
    raise VerifierError(f"unknown verifier {spec.kind!r}")


def checking(score: Scorer, check_gold: Callable[[str], None]) -> Scorer:
    """`score`, and for tasks marked as checks only a look at the gold (score 1.0 if it is fine)."""

    def scorer(task: Task) -> Outcome:
        if not task.check:
            return score(task)
        try:
            check_gold(task.gold)
        except GoldError as error:
            return Outcome(0.0, causes.UNPARSABLE, str(error))
        return Outcome(1.0, causes.CORRECT)

    return scorer


def load_function(where: str) -> Callable[..., Any]:
    """The function of `path/to/file.py:name`, from that file and nowhere else: no module is looked up by name.

    Raises:
        VerifierError: the form is wrong, the file is missing, or it has no such function.
    """
    try:
        function = load_own(where, "reward function")
    except OwnCodeError as error:
        raise VerifierError(str(error)) from error
    if not callable(function):
        raise VerifierError(f"reward function {where!r} is of type {type(function).__name__}, which cannot be called")
    return function  # type: ignore[no-any-return]


def _user_scorer(function: Callable[..., Any], where: str) -> Scorer:
    """The user's function, called with lists of one, its result checked."""

    def scorer(task: Task) -> Outcome:
        try:
            returned = function([task.completion], [_prompt(task)])
        except MemoryError:
            raise
        except Exception as error:
            raise RewardFunctionError(
                f"reward function {where} raised {type(error).__name__}: {error} for prompt {task.id!r}"
            ) from error
        return Outcome(_one_number(returned, where, task.id), causes.SCORED)

    return scorer


def _one_number(returned: Any, where: str, prompt_id: str) -> float:
    """The single finite number in what the user's function returned for one completion."""

    def fault(what: str) -> RewardFunctionError:
        return RewardFunctionError(
            f"reward function {where} returned {what} for prompt {prompt_id!r}: "
            "expected a list of one finite number (the function is called with one completion at a time)"
        )

    try:
        values = list(returned)
    except TypeError:
        raise fault(repr(returned)[:200]) from None
    if len(values) != 1:
        raise fault(f"{len(values)} values")
    value = values[0]
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise fault(repr(value)[:200])
    return float(value)


def _graded(value: float) -> Outcome:
    """The outcome of a scorer that grades between 0 and 1."""
    if not math.isfinite(value):
        return Outcome(0.0, causes.UNPARSABLE, f"score {value}")
    cause = causes.CORRECT if value >= 1.0 else causes.WRONG if value <= 0.0 else causes.PARTIAL
    return Outcome(float(value), cause)


def _prompt(task: Task) -> Prompt:
    if task.prompt is None:
        raise VerifierError(f"the task of prompt {task.id!r} came without its prompt")
    return Prompt(**task.prompt)
