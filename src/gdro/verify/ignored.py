r"""Parts of an answer that math-verify (0.9) steps over, so that it reads another answer than the one written.

Its parser drops signs that it does not know, and what stands before them: it reads `\neq 3`, `4 \to 3`, `4 \mapsto 3`,
`4 \mid 3` and `4. 3` as 3. A completion that hedges this way would be right for two golds. As units it drops all that
follows the first `\text{}`: `3\text{ (or 4)}`, `3\text{ cm}, 4\text{ cm}`. And of `3 \approx 5` it reads the 3.
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
_APPROXIMATELY = re.compile(r"\\approx(?:eq)?(?![a-zA-Z])|≈|~=")
_TEXT = r"\\(?:text(?:normal|bf|it|rm)?|math(?:rm|it|bf)|mbox)\s*"
_JOINT = re.compile(rf",?\s*{_TEXT}\{{\s*(?:and|or)\s*\}}")
_TEXT_START = re.compile(_TEXT + r"\{")
_WORDS = re.compile(rf"{_TEXT}\{{([^{{}}]*)\}}")
_EXPONENT = r"\^\s*(?:\d|\{\s*-?\s*\d\s*\}|\\circ|\{\s*\\circ\s*\})"
_BETWEEN = re.compile(rf"(?:{_EXPONENT}|\\(?:cdot|times)(?![a-zA-Z])|\\[,;:! %$]|[\s~/().%°])*")
"""What may stand between and after the words of a unit: exponents, products, quotients, blanks."""
_UNIT_CHARACTERS = re.compile(r"(?:[^\W\d_]++(?:\^?-?[1-4](?!\d))?|\\[,;:! %$]|[\s~/().,'%°²³·^\-\u2019])*")
_WORD = re.compile(r"[^\W\d_]+")
_MAX_WORDS = 8
_STATING = re.compile(
    r"or|either|else|maybe|perhaps|possibly|probably|alternatively|otherwise|instead|rather|versus|vs"
    r"|not?|never|none|neither|nor|cannot|isn|aren|wasn|doesn|don"
    r"|is|are|was|were|be|been|has|have|does|did|could|might|must|should|would"
    r"|but|however|though|although|unless|except|plus|minus"
)
"""Words that make a statement or an alternative of a phrase; a unit or a thing counted needs none of them."""
_VERDICT = re.compile(r"wrong|false|incorrect|untrue|invalid|impossible")
_CONDITION = re.compile(
    rf"{_TEXT}\{{\s*,?\s*\(?(?:for|where|with|when|if)(?:\s+(?:all|any|every|each|some|integer|integers))*\s*\}}"
    r"\s*([a-zA-Z])\s*(?:\\(?:in|neq?|geq?|leq?)(?![a-zA-Z])|[=<>])"
)


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


def has_ignored_text(answer: str, gold: str, reading: Sequence[Any]) -> bool:
    r"""Whether math-verify dropped words behind the value that are more than a unit or a thing counted.

    Allowed are a phrase of a few words without digits and without a word that states something (`or`, `not`, `is`), a
    condition on a name of the value (`2k\pi \text{ where } k \in \mathbb{Z}`), and what the gold has in the same place.

    >>> has_ignored_text(r"3\text{ square units}", "3", [3, "3"]), has_ignored_text(r"3\text{ (or 4)}", "3", [3, "3"])
    (False, True)
    """
    written = str(reading[1]) if len(reading) > 1 else ""
    joined = _JOINT.sub(",", answer)
    if len(_TEXT_START.findall(joined)) <= len(_TEXT_START.findall(written)):
        return False
    wanted = "".join(_behind(_JOINT.sub(",", gold))[1].split())
    for side in sides(joined):
        value, tail = _behind(side)
        if "".join(tail.split()) != wanted and not (_is_unit(tail) or _is_condition(tail, value)):
            return True
    return False


def sides(answer: str) -> list[str]:
    r"""The parts of `a \approx b` in their order, blank ones left out; the answer itself if it has no such sign.

    >>> sides(r"\pi \approx 3.14")
    ['\\pi', '3.14']
    """
    return [side.strip() for side in _APPROXIMATELY.split(answer) if side.strip()]


def _behind(text: str) -> tuple[str, str]:
    """The value and what follows from the first words on."""
    found = _TEXT_START.search(text)
    return (text, "") if found is None else (text[: found.start()], text[found.start() :])


def _is_unit(tail: str) -> bool:
    phrases = _WORDS.findall(tail)
    if _BETWEEN.fullmatch(_WORDS.sub("", tail)) is None or not all(map(_UNIT_CHARACTERS.fullmatch, phrases)):
        return False
    words = [word.lower() for phrase in phrases for word in _WORD.findall(phrase)]
    if len(words) > _MAX_WORDS or any(map(_STATING.fullmatch, words)):
        return False
    return not words or _VERDICT.fullmatch(words[-1]) is None


def _is_condition(tail: str, value: str) -> bool:
    found = _CONDITION.match(tail)
    return found is not None and re.search(rf"(?<![a-zA-Z\\]){found[1]}(?![a-zA-Z])", value) is not None
