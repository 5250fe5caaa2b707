r"""math-verify for what `answers` does not read: integrals, limits, sums without end, determinants.

It steps over what it does not know, so it is asked only about texts in which it knows everything:
no words, no relation but `=`, none but the commands listed.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

import math_verify
from latex2sympy2_extended import is_expr_of_only_symbols
from latex2sympy2_extended.logic import And
from math_verify import ExprExtractionConfig, LatexExtractionConfig
from sympy import Basic, MatrixBase
from sympy.core.relational import Relational

from gdro.verify.answers.dress import undress

for _name in ("math_verify.parser", "math_verify.grader", "math_verify.utils"):
    logging.getLogger(_name).setLevel(logging.ERROR)

_CONFIG = (LatexExtractionConfig(), ExprExtractionConfig())
_HIGHER = re.compile(
    r"\\(?:int|iint|lim|sum|prod|begin|det|partial|nabla|frac\s*\{\s*d)(?![a-zA-Z])"
)
_COMMANDS_KNOWN = (
    "frac dfrac tfrac sqrt int lim sum prod sin cos tan cot sec csc arcsin arccos arctan sinh cosh"
    " tanh ln log exp pi infty cdot times div pm begin end det binom alpha beta gamma delta epsilon"
    " theta lambda mu nu rho sigma tau phi varphi psi omega to left right max min"
)
_COMMANDS = frozenset(_COMMANDS_KNOWN.split())
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_FORBIDDEN = re.compile(r"[<>&;:~]|\\(?:text|ne|neq|in|cup|cap|approx)(?![a-zA-Z])|[^\x00-\x7f]")


def may_read(gold: str, answer: str) -> bool:
    """Whether math-verify may be asked: one of the two needs it and it knows all that stands in
    both."""
    texts = undress(gold), undress(answer)
    return any(map(_HIGHER.search, texts)) and all(map(_knows, texts))


def reads(gold: str) -> bool:
    """Whether math-verify reads this gold, which `answers` does not."""
    text = undress(gold)
    return _HIGHER.search(text) is not None and _knows(text) and bool(_parsed(text))


def equal(gold: str, answer: str) -> bool:
    """math-verify's comparison, and a check that it leaves out: every side of an equation must
    equal the gold."""
    golds, answers = _parsed(undress(gold)), _parsed(undress(answer))
    return any(_same(one, other) for one in golds for other in answers)


def parse_answer(text: str) -> list[Any]:
    """math-verify's reading: a sympy expression, then the text itself; empty if it has none."""
    return list(math_verify.parse(f"\\boxed{{{text}}}", _CONFIG, parsing_timeout=None))


@lru_cache(maxsize=8_192)
def _parsed(text: str) -> tuple[Any, ...]:
    return tuple(found for found in parse_answer(text) if isinstance(found, Basic | MatrixBase))


def _knows(text: str) -> bool:
    matrix = "\\begin" in text
    forbidden = _FORBIDDEN.search(text.replace("&", "") if matrix else text)
    return forbidden is None and all(name in _COMMANDS for name in _COMMAND.findall(text))


def _same(gold: Any, answer: Any) -> bool:
    if not math_verify.verify(gold, answer, timeout_seconds=None):
        return False
    if isinstance(gold, Relational | And) or not isinstance(answer, Relational | And):
        return True
    sides = _sides(answer)
    if is_expr_of_only_symbols(sides[0]):
        sides = sides[1:]
    return all(math_verify.verify(gold, side, timeout_seconds=None) for side in sides[:-1])


def _sides(relation: Any) -> list[Basic]:
    """`a = b = c` -> [a, b, c]: the left side of the first link, then every right side."""
    links = list(relation._unsorted_args) if isinstance(relation, And) else [relation]
    return [links[0].lhs, *(link.rhs for link in links)]
