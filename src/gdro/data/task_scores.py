"""reasoning-gym's own scorers: what an answer is worth, and whether a scorer can be trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from gdro.data.cells import Cell, dataset_of
from gdro.data.prompts import Prompt

UNREADABLE = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    SyntaxError,
    RecursionError,
)
"""What reasoning-gym's scorers raise on an answer that they cannot parse (say `int("two")`): it
scores 0."""

_PROBED = 6
"""Prompts of a cell that `check_scorer` looks at."""
_NONSENSE = "banana"


def score(prompt: Prompt, answer: str) -> float:
    """Score of an answer in [0, 1] by the family's own `score_answer`; 1 means right, less is
    partial credit.

    An answer that the scorer cannot parse (see `UNREADABLE`) scores 0. Partial credit that rounding
    carries past 1 (spell_backward adds 1/9 nine times for a right word with a letter too many)
    stays below 1.

    Args:
        prompt: of `gdro.data.reasoning_gym`.
        answer: the answer alone; which part of a completion that is, `gdro.verify.reader` says.
    """
    metadata = prompt.metadata
    dataset = _scorer(metadata["family"], json.dumps(metadata["config"], sort_keys=True))
    entry = {"question": _question(prompt), "answer": prompt.answer, "metadata": metadata["entry"]}
    try:
        value = float(dataset.score_answer(answer.strip(), entry))
    except UNREADABLE:
        return 0.0
    return value if value <= 1.0 else math.nextafter(1.0, 0.0)


def check_scorer(cell: Cell, prompts: Sequence[Prompt]) -> None:
    """Refuse a family whose scorer rejects its own gold answers or pays in full for what answers
    nothing.

    The first is true of 7 of the 106 families of 0.1.25, which need more than a text answer and
    JSON metadata. Of the second there are three: game_of_life_halting takes any answer, puzzle24
    one constant for all questions, and coin_flip any beginning of the right number.

    Raises:
        ValueError: naming the cell, the prompt and the answer.
    """
    if not prompts:
        return
    if score(prompts[0], prompts[0].answer) < 1.0:
        raise ValueError(
            f"cell {cell.name}: {cell.family} gives its own answer to {prompts[0].id} a score below"
            " 1, so it cannot be scored from a text answer and JSON metadata: take another family"
        )
    probed = prompts[:_PROBED]
    constant = probed[0].answer
    _refuse(cell, probed[:1], lambda prompt: _NONSENSE, "any answer")
    _refuse(
        cell,
        [prompt for prompt in probed if prompt.answer != constant],
        lambda prompt: constant,
        "one constant",
    )
    _refuse(
        cell,
        [prompt for prompt in probed if _beginning(prompt) is not None],
        _beginning,
        "a mere beginning",
    )


def _refuse(
    cell: Cell, prompts: Sequence[Prompt], answer: Callable[[Prompt], str | None], what: str
) -> None:
    """Raise if these answers, none of them right, earn the full score from all of the prompts."""
    answers = [answer(prompt) or "" for prompt in prompts]
    if prompts and all(
        score(prompt, text) >= 1.0 for prompt, text in zip(prompts, answers, strict=True)
    ):
        raise ValueError(
            f"cell {cell.name}: the scorer of {cell.family} pays in full for {what} (to"
            f" {prompts[0].id}, answer {prompts[0].answer[:40]!r}, it takes {answers[0][:40]!r}"
            " too): take another family"
        )


def _beginning(prompt: Prompt) -> str | None:
    """The first character of the gold where that is another answer: for text always, for a number
    if it differs."""
    gold = prompt.answer.strip()
    if len(gold) < 2:
        return None
    try:
        return gold[0] if float(gold[0]) != float(gold) else None
    except ValueError:
        return gold[0]


def _question(prompt: Prompt) -> str:
    question = prompt.metadata.get("question", prompt.messages)
    return question if isinstance(question, str) else str(question[-1]["content"])


@cache
def _scorer(family: str, config_json: str) -> Any:
    return dataset_of(Cell(family, config=json.loads(config_json)), seed=0)
