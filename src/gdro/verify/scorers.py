"""From a scorer's name to the function that a worker runs. Imported in the workers; heavy libraries
load here.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable

from gdro.data.prompts import Prompt
from gdro.verify import causes
from gdro.verify.own_reward import own_scorer
from gdro.verify.reader import Answer, read, read_for
from gdro.verify.types import GoldError, Outcome, Scorer, ScorerSpec, Task, VerifierError

FORMS: tuple[str, ...] = (
    r"\int_0^1 x^2 dx",
    r"\int \frac{1}{x} dx + C",
    r"\lim_{x \to 0} \frac{\sin x}{x}",
    r"\sum_{n=1}^{\infty} \frac{1}{n^2}",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}\cdot 2",
    r"\frac{\pi^2}{6}-\sqrt{2}",
)
"""Expressions that the nursery parses with math-verify once before it forks workers.

The LaTeX grammar's parser builds its tables as it meets new forms; met cold, a matrix or an
integral costs 50 ms instead of five. Workers inherit the tables, a worker that replaces a killed
one too. The list has the forms that only math-verify reads (`fallback.py`).
"""


def preload(spec: ScorerSpec) -> None:
    """Import and warm up, in the nursery, what every worker of this kind needs.

    A user's module is never loaded here: it may start threads, which do not survive a fork.
    """
    if spec.kind == "math":
        scorer = importlib.import_module("gdro.verify.math")
        fallback = importlib.import_module("gdro.verify.fallback")
        for form in FORMS:
            scorer.score(Answer(form, "box"), "x + 1")
            fallback.parse_answer(form)
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

        def compare(task: Task, answer: Answer) -> Outcome:
            outcome: Outcome = module.score(answer, task.gold)
            return outcome

        return checking(_reading(compare, spec), module.check_gold)
    if spec.kind == "reasoning_gym":
        grade = importlib.import_module("gdro.data.reasoning_gym").score

        def graded(task: Task, answer: Answer) -> Outcome:
            return _graded(grade(_prompt(task), answer.text))

        return checking(_reading(graded, spec), lambda gold: None)
    if spec.kind == "function":
        return _own(spec)
    raise VerifierError(f"unknown verifier {spec.kind!r}")


def _own(spec: ScorerSpec) -> Scorer:
    """A user's function gets the completion as it is, or the answer alone where a rule is set; a
    check is a trial."""
    own = own_scorer(spec)

    def scorer(task: Task) -> Outcome:
        if task.check:
            task = task._replace(completion=task.gold)
        elif spec.answer:
            answer = read(task.completion, spec.answer)
            task = task._replace(completion="" if answer is None else answer.text)
        outcome = own(task)
        return Outcome(1.0, causes.CORRECT, str(outcome.score)) if task.check else outcome

    return scorer


def _reading(score: Callable[[Task, Answer], Outcome], spec: ScorerSpec) -> Scorer:
    """`score` on the answer that the rule finds; without one the completion is unparsable."""

    def scorer(task: Task) -> Outcome:
        answer = read_for(spec.kind, task.completion, spec.answer)
        return (
            Outcome(0.0, causes.UNPARSABLE, "no answer") if answer is None else score(task, answer)
        )

    return scorer


def checking(score: Scorer, check_gold: Callable[[str], str | None]) -> Scorer:
    """`score`, and for tasks marked as checks only a look at the gold (score 1.0 if it is fine)."""

    def scorer(task: Task) -> Outcome:
        if not task.check:
            return score(task)
        try:
            text_only = check_gold(task.gold)
        except GoldError as error:
            return Outcome(0.0, causes.UNPARSABLE, str(error))
        return Outcome(1.0, causes.CORRECT, text_only or "")

    return scorer


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
