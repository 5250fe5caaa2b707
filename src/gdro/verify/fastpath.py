r"""Answers that need no parser: equal text, and plain numbers (`12,345`, `-7`, `0.25`, `3/4`,
`\frac{3}{4}`).

Most answers of a training run are of these kinds; here they cost a microsecond where a parse costs
milliseconds. What is decided here is decided as math-verify would; everything else is left to it.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_MAX_TEXT = 64
_INTEGER = r"\d{1,24}|\d{1,3}(?:(?:,|\{,\})\d{3}){1,7}"
_NUMBER = re.compile(
    rf"""(?P<sign>-?)(?:
        (?P<whole>{_INTEGER})
        |(?P<decimal>\d{{0,9}}\.\d{{1,6}})
        |\\[dt]?frac\{{(?P<minus>-?)(?P<top>\d{{1,12}})\}}\{{(?P<bottom>\d{{1,12}})\}}
        |(?P<over>\d{{1,12}})/(?P<under>\d{{1,12}})
    )""",
    re.VERBOSE | re.ASCII,
)


@lru_cache(maxsize=65_536)
def number(text: str) -> Fraction | None:
    r"""The number this text plainly writes, or None.

    >>> number("12,345"), number(r"-\frac{1}{2}"), number("x"), number("1/0")
    (Fraction(12345, 1), Fraction(-1, 2), None, None)
    """
    if len(text) > _MAX_TEXT:
        return None
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    sign = -1 if (found["sign"] or found["minus"]) else 1
    if found["sign"] and found["minus"]:
        sign = 1
    if found["whole"]:
        return Fraction(sign * int(re.sub("[{,}]", "", found["whole"])))
    if found["decimal"]:
        return sign * Fraction(found["decimal"])
    top, bottom = int(found["top"] or found["over"]), int(found["bottom"] or found["under"])
    return Fraction(sign * top, bottom) if bottom else None


def plain(text: str) -> str:
    """Without outer blanks, dollar signs and a final full stop."""
    return text.strip().strip("$").strip().removesuffix(".")


def decide(answer: str, gold: str) -> bool | None:
    """Whether the answer is right, or None if that takes a parser. Both as `plain` leaves them."""
    if answer == gold:
        return bool(gold) or None
    value = number(answer)
    wanted = number(gold) if value is not None else None
    if value is None or wanted is None:
        return None
    if (
        value != wanted
        and ("." in answer or "." in gold)
        and not (_is_short(value) and _is_short(wanted))
    ):
        return None
    return value == wanted


def _is_short(value: Fraction) -> bool:
    """At most six decimals. Other fractions equal a decimal when rounded (`1/3` and `0.333333`):
    not decided here."""
    return 10**6 % value.denominator == 0
