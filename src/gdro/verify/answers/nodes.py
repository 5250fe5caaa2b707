"""What an expression is made of, and the numbers in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
ELEMENTARY = ("arcsin", "arccos", "arctan", "arccot", "sinh", "cosh", "tanh", "exp")
KNOWN = frozenset(
    {*TRIGONOMETRIC, *ELEMENTARY, "log", "ln", "lg", "\\gcd", "\\lcm", "\\max", "\\min"}
)
"""Functions with values; others are names."""


class Unreadable(Exception):
    """The tokens are no expression that is read here, or it has no value."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of an expression.

    Attributes:
        op: `number`, `cut_off` (a number that goes on, `0.333...`), `name`, `constant`, `add`,
            `multiply`, `divide`, `power`, `negative`, `factorial`, `double_factorial`, `absolute`,
            `floor`, `ceiling`, `root`, `binomial`, `degree`, `percent`, `call` (of a known function
            or an unknown one), `log`, `sum`, `product`.
        parts: its operands.
        name: of a variable, constant or function; the index of a sum.
        value: of a number.
        decimals: digits after the point of a number that is written with one, which may be rounded;
            None is exact.
    """

    op: str
    parts: tuple[Node, ...] = ()
    name: str = ""
    value: Fraction = Fraction(0)
    decimals: int | None = None

    def walk(self) -> Iterator[Node]:
        """The node and everything below it, in no particular order."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo += node.parts

    @property
    def names(self) -> frozenset[str]:
        """Its free variables."""
        found = frozenset(node.name for node in self.walk() if node.op == "name")
        bound = frozenset(node.name for node in self.walk() if node.op in ("sum", "product"))
        return found - bound


_PERIOD = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar)\s*\{(\d+)\}")
_DOTTED = re.compile(r"(\d*)\.(\d*)\\dot\s*\{(\d)\}(?:(\d*)\\dot\s*\{(\d)\})?")
_BRACKETED = re.compile(r"(\d*)\.()\((\d+)\)")


def read_number(text: str) -> tuple[Fraction, int | None]:
    r"""The value of a number token, and its digits after the point if it may be rounded.

    >>> read_number("1,234.50"), read_number("3E-2"), read_number(r"0.1\overline{6}")
    ((Fraction(2469, 2), 2), (Fraction(3, 100), None), (Fraction(1, 6), None))
    """
    if (period := _PERIOD.fullmatch(text) or _BRACKETED.fullmatch(text)) is not None:
        return _repeating(period[1], period[2], period[3]), None
    if (dotted := _DOTTED.fullmatch(text)) is not None:
        return _repeating(
            dotted[1], dotted[2], dotted[3] + (dotted[4] or "") + (dotted[5] or "")
        ), None
    digits = re.sub(r"[, ]|\.\.\.$|\s*\\[lc]?dots$", "", text)
    mantissa, _, exponent = digits.lower().partition("e")
    _, point, decimals = mantissa.partition(".")
    if len(exponent) > 5:
        raise Unreadable("an exponent of more than four digits")
    value = Fraction(mantissa or "0") * Fraction(10) ** int(exponent or 0)
    return value, len(decimals) if point and not exponent else None


def _repeating(whole: str, fixed: str, period: str) -> Fraction:
    start = Fraction(f"{whole or '0'}.{fixed or '0'}")
    return start + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
