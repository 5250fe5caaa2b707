"""Cheap checks that refuse an answer before a parser or sympy sees it. All linear in the text.

They never raise. They refuse what costs more than a second or more than the memory limit by its
very form: towers of powers, factorials of large numbers, sums with millions of terms, deep nesting.
What they miss is still killed at the deadline; they are there so that common attacks cost
microseconds and not a killed worker. The limits are far outside ordinary answers: `2^{100}`,
`7^{2023}`, `100!`, `2^{2^5}+1` and a 200-digit integer pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gdro.verify import causes
from gdro.verify.magnitude import CEILING, evaluate, operand_after, operand_before

MAX_LENGTH = 2_000
"""Characters of an answer (not of a completion): some six times the longest ordinary one, a matrix
of fractions.
"""
MAX_NESTING = 30
MAX_PREFIXES = 20
"""Signs, roots, bars or factorials in a row."""
MAX_DIGITS = 1_000
MAX_EXPONENT = 100_000
MAX_TOWER = 4
"""Powers written in a row without braces."""
MAX_FACTORIAL = 10_000
MAX_TERMS = 1_000
MAX_RANGES = 3
"""Sums, products and integrals in one answer."""

_OPENING = frozenset("({[")
_CLOSING = frozenset(")}]")
_PREFIX = r"(?:[-+~!|']|\\(?:sqrt|neg|lnot|left|overline)|\\(?:sin|cos|tan|log|ln|exp)\b)\s*"
_PREFIX_RUN = re.compile(f"(?:{_PREFIX}){{{MAX_PREFIXES + 1}}}")
_DIGIT_RUN = re.compile(rf"\d[\d,.\s_]{{{MAX_DIGITS},}}")
_RANGE = re.compile(r"\\(?:sum|prod|i*int|bigcup|bigcap|bigoplus|coprod)(?![a-zA-Z])")
_BOUND_DISTANCE = 200
_POWER = re.compile(r"\^|\*\*")
_FACTORIAL = re.compile(r"!")
_BINOMIAL = re.compile(r"\\[dt]?binom(?![a-zA-Z])")
_SCIENTIFIC = re.compile(r"\d\s*[eE]\s*[-+]?\s*(\d{4,})")


def bad_length(text: str) -> bool:
    """More than MAX_LENGTH characters."""
    return len(text) > MAX_LENGTH


def bad_control(text: str) -> bool:
    """Control characters (null bytes among them) or lone surrogates."""
    return any(_is_control(char) for char in text)


def bad_character(text: str) -> bool:
    """Control characters (null bytes among them), lone surrogates, or digits that are not 0-9
    (Arabic, fullwidth).
    """
    return any(_is_bad_character(char) for char in text)


def _is_control(char: str) -> bool:
    if char < "\x7f":
        return char < " " and char not in "\t\n\r\f"
    return "\ud800" <= char <= "\udfff" or char < "\xa0"


def _is_bad_character(char: str) -> bool:
    return _is_control(char) or (char > "\x7f" and char.isdecimal())


def bad_nesting(text: str) -> bool:
    """Brackets deeper than MAX_NESTING, or more than MAX_PREFIXES prefix operators in a row."""
    depth = deepest = 0
    for char in text:
        if char in _OPENING:
            depth += 1
            deepest = max(deepest, depth)
        elif char in _CLOSING:
            depth -= 1
    return deepest > MAX_NESTING or _PREFIX_RUN.search(text) is not None


def bad_digits(text: str) -> bool:
    """A run of more than MAX_DIGITS digits, separators included."""
    return _DIGIT_RUN.search(text) is not None


def bad_range(text: str) -> bool:
    """A sum or product of more than MAX_TERMS terms, or more than MAX_RANGES sums and integrals."""
    ranges = list(_RANGE.finditer(text))
    if len(ranges) > MAX_RANGES:
        return True
    return any(
        _too_many_terms(text[found.end() : found.end() + _BOUND_DISTANCE]) for found in ranges
    )


def _too_many_terms(bounds: str) -> bool:
    """Whether `_{k=1}^{10^9} ...` has a number beyond MAX_TERMS in a bound (infinity is none)."""
    position = 0
    for _ in range(2):
        while position < len(bounds) and bounds[position].isspace():
            position += 1
        if position >= len(bounds) or bounds[position] not in "_^":
            return False
        bound, position = operand_after(bounds, position + 1)
        if abs(evaluate(bound.rsplit("=", 1)[-1])) > MAX_TERMS:
            return True
    return False


def bad_factorial(text: str) -> bool:
    """A factorial of more than MAX_FACTORIAL, or a binomial of more than that over more than
    100."""
    for found in _FACTORIAL.finditer(text):
        if abs(evaluate(operand_before(text, found.start()))) > MAX_FACTORIAL:
            return True
    for found in _BINOMIAL.finditer(text):
        top, position = operand_after(text, found.end())
        bottom, _ = operand_after(text, position)
        if abs(evaluate(top)) > MAX_FACTORIAL and abs(evaluate(bottom)) > 100:
            return True
    return False


def bad_exponent(text: str) -> bool:
    """An exponent beyond MAX_EXPONENT in size, towers evaluated from the top (`9^{9^9}`, `9^9^9`,
    `10^{-10^9}`).
    """
    for found in _POWER.finditer(text):
        operand, position = operand_after(text, found.end())
        tower, height = operand, 1
        while (higher := _POWER.match(text, position)) is not None:
            operand, position = operand_after(text, higher.end())
            tower, height = f"{tower}^({operand}", height + 1
            if height > MAX_TOWER:
                return True
        if abs(evaluate(tower)) > MAX_EXPONENT:
            return True
    return any(int(found.group(1)[:9]) > MAX_EXPONENT for found in _SCIENTIFIC.finditer(text))


_GUARDS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    (causes.REFUSED_LENGTH, bad_length),
    (causes.REFUSED_CHARACTER, bad_character),
    (causes.REFUSED_NESTING, bad_nesting),
    (causes.REFUSED_DIGITS, bad_digits),
    (causes.REFUSED_RANGE, bad_range),
    (causes.REFUSED_FACTORIAL, bad_factorial),
    (causes.REFUSED_EXPONENT, bad_exponent),
)


def refusal(text: str) -> str | None:
    """The cause for which this answer is refused, or None: it may be parsed.

    >>> refusal("2^{100}"), refusal("9^{9^{9}}")
    (None, 'refused_exponent')
    """
    for cause, is_bad in _GUARDS:
        if is_bad(text):
            return cause
    return None


assert CEILING > MAX_EXPONENT, "saturated values must lie beyond every limit"
