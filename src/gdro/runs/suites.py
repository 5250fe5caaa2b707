r"""The paper's test sets: where they are on the hub, which columns they have, and their rows as
prompts.

The table was put together from public code that reads these data sets (2026-11); a hub's columns
can change, and a column that is not there is one clear error. Gold answers are checked by the
verifier before anything is sampled.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gdro.core.errors import DataError, RunError
from gdro.data.prompts import Prompt
from gdro.data.raw import SUFFIXES, Row, read_raw
from gdro.data.rows import answer_text, column, content_hash
from gdro.data.split import choose

BOXED = "{prompt}\n\nReason step by step, and put the final answer within \\boxed{}."
LETTERED = BOXED.replace("{prompt}", "{prompt}\n\n{choices}").replace(
    "final answer", "letter of the right choice"
)
LETTERS = "ABCD"


@dataclass(frozen=True, slots=True)
class Suite:
    """One test set.

    Attributes:
        title: as papers write it.
        hub: its name on the hub.
        subset: of it, or None.
        split: of it.
        prompt, answer: columns.
        problems: how many the paper's community counts, to compare with; None where releases
            differ.
        lighteval: the task of lighteval that is nearest, or None.
        wrong: columns of the wrong choices; with any, it is a multiple-choice set scored by letter.
        keep: column -> the values that a row must have to be used, where the column is there.
        answers_in_list: the answer is a list of one or more answers, given as a list or as its
            text.
    """

    title: str
    hub: str
    subset: str | None
    split: str
    prompt: str = "problem"
    answer: str = "answer"
    problems: int | None = None
    lighteval: str | None = None
    wrong: tuple[str, ...] = ()
    keep: Mapping[str, tuple[str, ...]] | None = None
    answers_in_list: bool = False


SUITES: dict[str, Suite] = {
    "math500": Suite(
        "MATH-500", "HuggingFaceH4/MATH-500", None, "test", problems=500, lighteval="math_500"
    ),
    "aime24": Suite(
        "AIME 2024", "HuggingFaceH4/aime_2024", None, "train", problems=30, lighteval="aime24"
    ),
    "aime25": Suite("AIME 2025", "math-ai/aime25", None, "test", problems=30, lighteval="aime25"),
    "amc": Suite("AMC", "AI-MO/aimo-validation-amc", None, "train", problems=83),
    "minerva": Suite(
        "Minerva", "math-ai/minervamath", None, "test", prompt="question", problems=272
    ),
    "olympiadbench": Suite(
        "OlympiadBench",
        "Hothan/OlympiadBench",
        "OE_TO_maths_en_COMP",
        "train",
        prompt="question",
        answer="final_answer",
        problems=674,
        lighteval="olympiad_bench:OE_TO_maths_en_COMP",
        keep={"modality": ("Text-only",), "language": ("English",)},
        answers_in_list=True,
    ),
    "gpqa": Suite(
        "GPQA diamond",
        "Idavidrein/gpqa",
        "gpqa_diamond",
        "train",
        prompt="Question",
        answer="Correct Answer",
        problems=198,
        lighteval="gpqa:diamond",
        wrong=("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"),
    ),
}


@dataclass(frozen=True)
class SuitePrompts:
    """A suite's prompts, and what was left out.

    Attributes:
        prompts: with ids `<suite>/<hash of the problem>`.
        left_out: rows of another modality or language, which the suite does not count.
        duplicates: rows dropped because an earlier one has the same problem.
    """

    prompts: list[Prompt]
    left_out: int
    duplicates: int


def suite_names(chosen: str) -> list[str]:
    """`all`, or names with commas between them.

    Raises:
        RunError: an unknown name; lists the known ones.
    """
    names = list(SUITES) if chosen == "all" else [name.strip() for name in chosen.split(",")]
    for name in names:
        if name not in SUITES:
            raise RunError(f"--suite {chosen}: {name!r} is none of {', '.join(SUITES)}, all")
    return list(dict.fromkeys(names))


def load_suite(name: str, copies: str | None = None, limit: int | None = None) -> SuitePrompts:
    """The prompts of a suite, each one user message.

    Args:
        name: one of `SUITES`.
        copies: a folder that holds `NAME/`, `NAME.parquet`, `NAME.jsonl` or `NAME.csv` with the
            hub's columns; None takes the hub.
        limit: at most so many, by a hash of the id.

    Raises:
        DataError: not there, or a row or column is not as the table says.
        RunError: `copies` has nothing of that name.
    """
    suite = SUITES[name]
    prompts: dict[str, Prompt] = {}
    left_out = duplicates = 0
    for row in read_raw(_source(name, copies), suite.subset, suite.split):
        if not _kept(row[1], suite):
            left_out += 1
            continue
        prompt = _prompt(name, suite, row)
        duplicates += prompt.id in prompts
        prompts.setdefault(prompt.id, prompt)
    if not prompts:
        raise DataError(
            f"suite {name}: all of its {left_out} rows are left out ({dict(suite.keep or {})})"
        )
    return SuitePrompts(choose(list(prompts.values()), limit, "suite"), left_out, duplicates)


def _source(name: str, copies: str | None) -> str:
    if copies is None:
        return SUITES[name].hub
    for path in (Path(copies) / name, *(Path(copies) / f"{name}{suffix}" for suffix in SUFFIXES)):
        if path.exists():
            return str(path)
    raise RunError(f"--suite-path {copies}: holds no {name}/ and no {name}{{{','.join(SUFFIXES)}}}")


def _kept(row: Mapping[str, Any], suite: Suite) -> bool:
    return all(str(row[key]) in values for key, values in (suite.keep or {}).items() if key in row)


def _prompt(name: str, suite: Suite, row: Row) -> Prompt:
    place, values = row
    problem = answer_text(column(values, suite.prompt, place), suite.prompt, place).strip()
    key = content_hash(problem)
    build: Callable[..., tuple[str, str]] = _lettered if suite.wrong else _boxed
    text, answer = build(suite, values, place, problem, key)
    return Prompt(f"{name}/{key}", [{"role": "user", "content": text}], answer, name)


def _boxed(
    suite: Suite, values: Mapping[str, Any], place: str, problem: str, key: str
) -> tuple[str, str]:
    value = column(values, suite.answer, place)
    if suite.answers_in_list:
        value = _joined(value, suite.answer, place)
    return BOXED.replace("{prompt}", problem), answer_text(value, suite.answer, place).strip()


def _lettered(
    suite: Suite, values: Mapping[str, Any], place: str, problem: str, key: str
) -> tuple[str, str]:
    """Choices in an order that depends on the problem alone: the right one stands first in the
    data."""
    texts = [
        answer_text(column(values, name, place), name, place).strip()
        for name in (suite.answer, *suite.wrong)
    ]
    order = sorted(range(len(texts)), key=lambda i: hashlib.sha256(f"{key}:{i}".encode()).digest())
    choices = "\n".join(f"{letter}) {texts[i]}" for letter, i in zip(LETTERS, order, strict=True))
    return LETTERED.replace("{choices}", choices, 1).replace("{prompt}", problem, 1), LETTERS[
        order.index(0)
    ]


def _joined(value: Any, name: str, place: str) -> str:
    """Several answers as one: `1, 2`."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError) as error:
            raise DataError(
                f"{place}: {name} is {value[:60]!r}, which is no list of answers"
            ) from error
    parts: Sequence[Any] = value if isinstance(value, list) else [value]
    if not parts:
        raise DataError(f"{place}: {name} is an empty list; an answer is needed")
    return ", ".join(answer_text(part, name, place).strip() for part in parts)
