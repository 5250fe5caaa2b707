r"""Parts of an answer that math-verify (0.9) steps over, so that it reads another answer than the one written.

Its parser drops signs that it does not know, and what stands before them: it reads `\neq 3`, `4 \to 3`, `4 \mapsto 3`,
`4 \mid 3` and `4. 3` as 3. A completion that hedges this way would be right for two golds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sympy import Number

_SIGN = re.compile(
    r"\\(?:neq?|not|neg|lnot|implies|impliedby|iff|to|gets|mapsto|leadsto|[a-zA-Z]*arrow|therefore|because"
    r"|sim|simeq|cong|doteq|propto|coloneqq|ll|gg|stackrel|overset|underset)(?![a-zA-Z])"
    r"|:=|[≠→⇒⟹⇔↔¬∴∵]"
)
_LIMIT = re.compile(r"\\lim\s*_\s*\{[^{}]{0,40}\}")

_PLAIN = r"(?:\d+(?:(?:,|\{,\})\d{3})*(?:\.\d*)?|\.\d+)"
_NUMBER = re.compile(_PLAIN, re.ASCII)
_ONE_NUMBER = re.compile(
    rf"""[-+(\[{{\s]*(?:
        {_PLAIN}\s*(?:/|:|\\div)\s*[-+]?\s*{_PLAIN}
        |(?:{_PLAIN}\s*)?[-+]?\\frac\s*\{{[-+\s]*{_PLAIN}\s*\}}\s*\{{[-+\s]*{_PLAIN}\s*\}}
    )[)\]}}\s.]*""",
    re.VERBOSE | re.ASCII,
)
_ASIDE = re.compile(r"(?:\\approx|≈).*|_\s*(?:\d+|\{\s*\d+\s*\})|\^\s*\{?\s*\\circ\s*\}?", re.DOTALL)
"""Not part of the value: an approximation given after it, a number base, a degree sign."""


def has_ignored_sign(answer: str, gold: str) -> bool:
    r"""Whether the answer has a relation or arrow that math-verify drops and the gold has none.

    >>> has_ignored_sign(r"4 \to 3", "3"), has_ignored_sign(r"\lim_{x\to 0} 3", "3")
    (True, False)
    """
    return _SIGN.search(_LIMIT.sub("", answer)) is not None and _SIGN.search(_LIMIT.sub("", gold)) is None


def has_ignored_number(reading: Sequence[Any]) -> bool:
    r"""Whether math-verify made one number of a text with several that are not one number (`\frac{6}{2}` is).

    `reading` is what it returns: the expression, then the text it was read from.
    """
    if len(reading) < 2 or not isinstance(reading[0], Number):
        return False
    text = _ASIDE.sub("", str(reading[1])).strip()
    return len(_NUMBER.findall(text)) > 1 and _ONE_NUMBER.fullmatch(text) is None
