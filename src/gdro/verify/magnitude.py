r"""How large is the number that this LaTeX writes? Saturating arithmetic, linear in the text.

`evaluate` reads integers, decimals, + - * / ^ ! \cdot \times \frac, brackets and braces, left to
right with the usual precedence, and stops at CEILING. A name counts as 2, so `x^{2^{n}}` is small
and `x^{10^{9}n}` is not. It is an estimate for guards, not a parser: what it does not know it
skips.
"""

from __future__ import annotations

import math
import re

CEILING = 10.0**9
_MAX_DEPTH = 24
_DIGITS = frozenset("0123456789")
_TOKEN = re.compile(
    r"(\d[\d,]*\.?\d*|\.\d+)|(\\[a-zA-Z]+|[a-zA-Z])|(\*\*|[-+*/^!(){}\[\]])|\s+|.",
    re.DOTALL | re.ASCII,
)
_NUMBER = re.compile(r"\s*(\d[\d.,]*)", re.ASCII)
_NAME = re.compile(r"\s*(\\?[a-zA-Z]+)")
_OPEN = {"(": ")", "{": "}", "[": "]"}
_CLOSE = {")": "(", "}": "{", "]": "["}
_TIMES = ("\\cdot", "\\times")
_SILENT = ("\\left", "\\right", "\\big", "\\Big", "\\displaystyle", "\\infty")


def clamp(value: float) -> float:
    """`value` within -CEILING..CEILING; not-a-number counts as CEILING."""
    return CEILING if math.isnan(value) else max(-CEILING, min(CEILING, value))


def evaluate(text: str) -> float:
    r"""Estimated value, saturated at CEILING in size.

    >>> evaluate("2^{10}"), evaluate("-10^{9^{9}}"), evaluate("n+1"), evaluate("5!")
    (1024.0, -1000000000.0, 3.0, 120.0)
    """
    reader = _Reader(text)
    value = reader.total(0)
    return CEILING if reader.too_deep else value


def operand_after(text: str, position: int) -> tuple[str, int]:
    r"""What an operator at `position` applies to: a bracketed group, a number, a name or one
    character.

    Returns the operand without its brackets, and the position after it. A sign belongs to the
    operand.

    >>> operand_after("^{12}x", 1), operand_after("**345", 2), operand_after("^-7", 1)
    (('12', 5), ('345', 5), ('-7', 3))
    """
    while position < len(text) and text[position].isspace():
        position += 1
    if position >= len(text):
        return "", position
    if text[position] in "+-":
        if text[position + 1 : position + 2] in ("", "+", "-"):
            return "", position + 1
        inner, end = operand_after(text, position + 1)
        return text[position] + inner, end
    if text[position] in _OPEN:
        end = _matching(text, position)
        return text[position + 1 : end], min(end + 1, len(text))
    for pattern in (_NUMBER, _NAME):
        if (found := pattern.match(text, position)) is not None:
            return found.group(1), found.end()
    return text[position], position + 1


def operand_before(text: str, position: int) -> str:
    """What a postfix operator at `position` applies to: a group or a number before it (with
    factorials between).
    """
    end = position
    while end > 0 and (text[end - 1].isspace() or text[end - 1] == "!"):
        end -= 1
    marks = text[end:position].count("!")
    if end == 0:
        return ""
    if text[end - 1] in _CLOSE:
        start = _matching_back(text, end - 1)
    else:
        start = end - 1
        while start > 0 and text[start - 1] in "0123456789.,":
            start -= 1
    return text[start:end].replace("\\", " ") + "!" * marks


def _matching(text: str, start: int) -> int:
    """Position of the bracket that closes the one at `start`; the end of the text if none does."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] in _OPEN) - (text[position] in _CLOSE)
        if depth == 0:
            return position
    return len(text)


def _matching_back(text: str, end: int) -> int:
    depth = 0
    for position in range(end, -1, -1):
        depth += (text[position] in _CLOSE) - (text[position] in _OPEN)
        if depth == 0:
            return position
    return 0


class _Reader:
    """Recursive descent over the tokens, with a depth limit. Every method consumes tokens:
    linear."""

    def __init__(self, text: str) -> None:
        self._tokens = [m.group().strip() for m in _TOKEN.finditer(text)]
        self._tokens = [token for token in self._tokens if token and token not in _SILENT]
        self._at = 0
        self.too_deep = False

    def total(self, depth: int) -> float:
        """Sum of products, up to a closing bracket or the end."""
        value = self._product(depth)
        while (token := self._peek()) and token not in _CLOSE:
            if token in "+-":
                self._at += 1
                term = self._product(depth)
                value = clamp(value + term if token == "+" else value - term)
            else:
                value = (
                    clamp(value * self._product(depth))
                    if self._starts_value(token)
                    else self._skip(value)
                )
        return value

    def _skip(self, value: float) -> float:
        self._at += 1
        return value

    def _product(self, depth: int) -> float:
        value = self._power(depth)
        while (token := self._peek()) and (
            token in ("*", "/") or token in _TIMES or self._starts_value(token)
        ):
            if token in ("*", "/") or token in _TIMES:
                self._at += 1
            factor = self._power(depth)
            if token == "/":
                value = clamp(value / factor) if factor else CEILING
            else:
                value = clamp(value * factor)
        return value

    def _power(self, depth: int) -> float:
        if depth > _MAX_DEPTH:
            self.too_deep = True
            self._at = len(self._tokens)
            return CEILING
        base = self._factorials(self._atom(depth))
        if self._peek() in ("^", "**"):
            self._at += 1
            return _power(base, self._power(depth + 1))
        return base

    def _factorials(self, value: float) -> float:
        while self._peek() == "!":
            self._at += 1
            value = CEILING if value > 12 else float(math.factorial(max(0, int(value))))
        return value

    def _atom(self, depth: int) -> float:
        token = self._peek()
        self._at += 1
        if token in ("+", "-"):
            inner = self._power(depth + 1)
            return -inner if token == "-" else inner
        if token in _OPEN:
            value = self.total(depth + 1)
            if self._peek() in _CLOSE:
                self._at += 1
            return value
        if token in ("\\frac", "\\dfrac", "\\tfrac"):
            top, bottom = self._argument(depth + 1), self._argument(depth + 1)
            return clamp(top / bottom) if bottom else CEILING
        if token.lstrip(".")[:1] in _DIGITS:
            return clamp(float(token.replace(",", "")[:32]))
        return 2.0 if token else 0.0

    def _argument(self, depth: int) -> float:
        r"""An argument of `\frac`; without braces it is one digit, `\frac12`."""
        token = self._peek()
        if len(token) > 1 and token.isdigit():
            self._tokens[self._at] = token[1:]
            return float(token[0])
        return self._atom(depth)

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _starts_value(self, token: str) -> bool:
        return token in _OPEN or token[0].isalnum() or token[0] in "\\."


def _power(base: float, exponent: float) -> float:
    """`base ** exponent`, saturated; a negative base counts by its size."""
    size = abs(base)
    if size < 1e-9:
        return CEILING if exponent < 0.0 else float(exponent == 0.0)
    if size <= 1.0 or exponent <= 0.0:
        return clamp(size ** max(exponent, -30.0))
    if exponent * math.log10(size) >= math.log10(CEILING):
        return CEILING
    return clamp(size**exponent)
