r"""The `math` scorer: is the answer mathematically equal to the gold one? math-verify behind guards.

Runs inside a worker process (see `pool.py`), which ends it if it takes too long. In order: find the answer
(`extract.py`), decide plain numbers (`fastpath.py`), refuse what is hostile by its form (`guards.py`), parse
and compare with math-verify, and last a check that math-verify leaves out: an answer that is an equation must
hold together. `\boxed{4=3}` is not 3, `\boxed{2x=3}` neither, `\boxed{x=3}` and `\boxed{2+1=3}` are.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

import math_verify
import math_verify.parser as mv_parser
from latex2sympy2_extended import is_expr_of_only_symbols
from latex2sympy2_extended.logic import And
from math_verify import ExprExtractionConfig, LatexExtractionConfig
from sympy import Basic, Eq, Expr, Float, MatrixBase, Set, Tuple
from sympy.core.relational import Relational

from gdro.verify import causes
from gdro.verify.fastpath import decide, plain
from gdro.verify.guards import refusal
from gdro.verify.ignored import has_ignored_number, has_ignored_sign, has_ignored_text, sides
from gdro.verify.reader import Answer, read, tail
from gdro.verify.types import GoldError, Outcome

for _name in ("math_verify.parser", "math_verify.grader", "math_verify.utils"):
    logging.getLogger(_name).setLevel(logging.ERROR)

_CONFIG = (LatexExtractionConfig(), ExprExtractionConfig())


def score(answer: Answer, gold: str) -> Outcome:
    """1.0 if the answer equals the gold, else 0.0, with the cause."""
    gold = plain(_gold_text(gold))
    text = answer.text if answer.mark else tail(answer.text)
    quick = decide(plain(text), gold)
    if quick is not None:
        return _verdict(quick)
    return judge_box(text, gold) if answer.mark else judge_tail(text, gold)


@lru_cache(maxsize=16_384)
def judge_box(text: str, gold: str) -> Outcome:
    """The verdict on a box's content. Remembered: the rollouts of one prompt repeat each other's answers."""
    if (cause := refusal(text)) is not None:
        return Outcome(0.0, cause)
    parsed = parse_answer(text)
    if parsed and (
        has_ignored_sign(text, gold)
        or has_ignored_number(parsed)
        or has_ignored_text(text, gold, parsed)
        or not approximates(text, gold)
    ):
        return Outcome(0.0, causes.WRONG, "says more than what math-verify reads in it")
    return _compare(parsed, gold)


def judge_tail(text: str, gold: str) -> Outcome:
    """The verdict on free text."""
    try:
        return _compare(parse_tail(text), gold)
    except Refused as refused:
        return Outcome(0.0, refused.cause)


def _compare(parsed: list[Any], gold: str) -> Outcome:
    if not parsed:
        return Outcome(0.0, causes.UNPARSABLE)
    return _verdict(any(equal(one, other) for one in parse_gold(gold) for other in parsed))


def check_gold(gold: str) -> None:
    r"""Raise GoldError if no completion could be compared with this gold. Call before training, in a worker.

    >>> check_gold(r"\frac{1}{2}")
    """
    if not isinstance(gold, str) or not gold.strip():
        raise GoldError("the gold answer is empty")
    cause = refusal(_gold_text(gold))
    if cause is not None:
        raise GoldError(f"the gold answer {_short(gold)} is refused ({cause})")
    if not parse_gold(plain(_gold_text(gold))):
        raise GoldError(f"the gold answer {_short(gold)} cannot be read")


class Refused(Exception):
    """A guard refuses what the parser is about to read."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def parse_answer(text: str) -> list[Any]:
    """math-verify's reading of a box's content: a sympy expression, then the text itself; empty if it has
    none.
    """
    return list(math_verify.parse(f"\\boxed{{{text}}}", _CONFIG, parsing_timeout=None))


@lru_cache(maxsize=8_192)
def parse_gold(gold: str) -> tuple[Any, ...]:
    """The same for a gold answer, remembered: a prompt is scored many times."""
    return tuple(parse_answer(gold))


def parse_tail(text: str) -> list[Any]:
    """math-verify's reading of free text, each piece it would parse passed through the guards first.

    The loop is `math_verify.parser.extract_target_from_pred` (0.9) with the guards in between.

    Raises:
        Refused: the piece it would read is hostile.
    """
    if any(not char.isprintable() and char not in "\t\n\r\f" for char in text):
        text = "".join(char if char.isprintable() or char in "\t\n\r\f" else "�" for char in text)
    patterns = [
        (priority, pattern, target)
        for group, target in mv_parser.get_extraction_regexes(_CONFIG)
        for pattern, priority in group
    ]
    for priority in sorted({entry[0] for entry in patterns}):
        matches = [
            (match.end(), -match.start(), index, match, target)
            for index, (rank, pattern, target) in enumerate(patterns)
            if rank == priority
            for match in pattern.finditer(text)
        ]
        matches.sort(key=lambda entry: entry[:2], reverse=True)
        fallback = ""
        for *_, match, target in matches:
            if (cause := refusal(match.group())) is not None:
                raise Refused(cause)
            expression, written = mv_parser.extract_match(match, target)
            fallback = fallback or written
            if expression is not None:
                return [expression, fallback]
    return []


def equal(gold: Any, answer: Any) -> bool:
    """math-verify's comparison of two readings, and `coherent`."""
    same = math_verify.verify(gold, answer, timeout_seconds=None)
    return bool(same) and (isinstance(answer, str) or coherent(gold, answer))


def coherent(gold: Any, answer: Any) -> bool:
    """Whether every equation in the answer states the gold and not merely ends with it.

    math-verify compares only the last right-hand side of an equation with a gold that is none. Here every
    side must equal the gold, but for a name on the left (`x`, `f(x)`, `AB`). Inside a set or tuple only `name
    = value` passes.
    """
    if has_relation(gold):
        return True
    if isinstance(answer, Set | Tuple):
        return all(_names_its_value(part) for part in _relations(answer))
    if not isinstance(answer, Relational | And):
        return True
    sides = _sides(answer)
    if is_expr_of_only_symbols(sides[0]):
        sides = sides[1:]
    return all(math_verify.verify(gold, side, timeout_seconds=None) for side in sides[:-1])


def approximates(text: str, gold: str) -> bool:
    r"""Whether every number after a `\approx` is the one before it, rounded to the digits written or within 5 %.

    math-verify reads the first alone. A name on the left (`x \approx 3`) has none to be compared with; an approximation
    that is no number counts only where the gold has one too.

    >>> approximates(r"\pi \approx 3.14", "3"), approximates(r"3 \approx 5", "3")
    (True, False)
    """
    parts = sides(text)
    if len(parts) < 2 or len(sides(gold)) > 1:
        return True
    readings = [parse_answer(part) for part in parts]
    if not all(readings):
        return False
    first, *others = [reading[0] for reading in readings]
    if isinstance(first, Basic) and is_expr_of_only_symbols(first):
        first, *others = others
    texts = [str(reading[-1]) for reading in readings[len(readings) - len(others) :]]
    return all(_near(first, other, written) for other, written in zip(others, texts, strict=True))


def _near(exact: Any, rounded: Any, written: str) -> bool:
    """Whether the second is the first rounded; `written` has the digits that the second was given with."""
    if not (isinstance(exact, Expr) and isinstance(rounded, Expr)):
        return False
    value, other = exact.doit().evalf(), rounded.doit().evalf()
    if not (value.is_Number and other.is_Number and value.is_finite and other.is_finite):
        return False
    decimals = re.search(r"\.(\d+)", written)
    unit = Float(10) ** -len(decimals[1]) if decimals else Float(1)
    return bool(abs(value - other) <= max(unit / 2, abs(value) / 20))


def has_relation(expression: Any) -> bool:
    """Whether an equation or inequality stands anywhere in it."""
    return bool(_relations(expression))


def _relations(expression: Any) -> list[Any]:
    if isinstance(expression, Relational | And):
        return [expression]
    parts = expression.flat() if isinstance(expression, MatrixBase) else ()
    parts = expression.args if isinstance(expression, Basic) else parts
    return [found for part in parts for found in _relations(part)]


def _names_its_value(part: Any) -> bool:
    return isinstance(part, Eq) and bool(is_expr_of_only_symbols(part.lhs))


def _sides(relation: Any) -> list[Basic]:
    """`a = b = c` -> [a, b, c]: the left side of the first link, then every right side."""
    links = list(relation._unsorted_args) if isinstance(relation, And) else [relation]
    return [links[0].lhs, *(link.rhs for link in links)]


def _gold_text(gold: str) -> str:
    """The gold answer itself, out of a box if the data set kept one."""
    found = read(gold, "last_box")
    return gold if found is None else found.text


def _verdict(right: bool) -> Outcome:
    return Outcome(1.0, causes.CORRECT) if right else Outcome(0.0, causes.WRONG)


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:77]) + "..."
