"""The value of an expression: exact where it is rational, else to 60 or 120 digits; and whether two
are equal.

Two expressions with variables are equal if they agree at points drawn once for all from their
names: rational ones of both signs and whole ones, exactly where no root or function stands in the
way. Different expressions agree at all of them with a probability that is nil (Schwartz 1980,
Zippel 1979).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import mpmath

from gdro.verify.answers.arithmetic import (
    DIGITS,
    ELEMENTARY_FUNCTIONS,
    MAX_BITS,
    MAX_MAGNITUDE,
    OPERATIONS,
    WHOLE,
    Value,
    add,
    constant,
    drawn,
    is_exact,
    logarithm,
    multiply,
    rounded,
    to_float,
    unknown,
)
from gdro.verify.answers.nodes import TRIGONOMETRIC, Node, Unreadable

_MAX_TERMS = 1_000
_ROUNDED = 5e-7
"""Half of the sixth decimal: how near a decimal must be to what it stands for (as math-verify
rounds)."""
_TINY = 1e-3
"""Below this size a decimal must be near relative to what it stands for: tiny numbers are not all
equal."""


@dataclass
class Evaluator:
    """Values of expressions at one point.

    Attributes:
        point: name -> value.
        log10: read `\\log` without a base as the decimal one.
    """

    point: Mapping[str, Fraction] = field(default_factory=dict)
    log10: bool = False
    _bound: dict[str, Fraction] = field(default_factory=dict)
    _angle: int = 0

    def __call__(self, node: Node) -> Value:
        """The value of the node.

        Raises:
            Unreadable: it has none, or it is too large.
        """
        try:
            return self._checked(self._value(node))
        except (ZeroDivisionError, OverflowError, ValueError, TypeError, ArithmeticError) as error:
            raise Unreadable(f"{node.op}: {error}") from error

    def _value(self, node: Node) -> Value:
        if node.op in ("number", "cut_off"):
            return node.value
        if node.op == "name":
            if node.name in self._bound:
                return self._bound[node.name]
            if node.name not in self.point:
                raise Unreadable(f"{node.name} has no value")
            return self.point[node.name]
        if node.op in ("sum", "product"):
            return self._series(node)
        if node.op == "call":
            return self._call(node)
        if node.op == "constant":
            return constant(node.name)
        parts = [self(part) for part in node.parts]
        operation = OPERATIONS.get(node.op)
        if operation is not None:
            return operation(*parts)
        if node.op == "degree":
            return parts[0] * (to_float(mpmath.pi) / 180) if self._angle else parts[0]
        raise Unreadable(f"{node.op} has no single value")

    def _call(self, node: Node) -> Value:
        name = node.name
        trigonometric = name in TRIGONOMETRIC
        self._angle += trigonometric
        try:
            parts = [self(part) for part in node.parts]
        finally:
            self._angle -= trigonometric
        if name in WHOLE and all(
            isinstance(part, Fraction) and part.denominator == 1 for part in parts
        ):
            return Fraction(WHOLE[name](*(int(part) for part in parts)))
        if name in ("\\max", "\\min"):
            return (max if name == "\\max" else min)(parts)
        if name == "log":
            return logarithm(parts[0], Fraction(10)) if self.log10 else logarithm(parts[0], None)
        if name == "ln":
            return logarithm(parts[0], None)
        if name == "lg":
            return logarithm(parts[0], Fraction(10))
        if name in ELEMENTARY_FUNCTIONS:
            argument = rounded(parts[0])
            if mpmath.mag(argument) > 4_000:
                raise Unreadable("an argument too large")
            return ELEMENTARY_FUNCTIONS[name](argument)
        return unknown(name, parts)

    def _series(self, node: Node) -> Value:
        low, high = self(node.parts[0]), self(node.parts[1])
        if not (isinstance(low, Fraction) and isinstance(high, Fraction)):
            raise Unreadable("a bound that is no number")
        if low.denominator != 1 or high.denominator != 1 or high - low > _MAX_TERMS:
            raise Unreadable("bounds that are not whole, or too many terms")
        adds = node.op == "sum"
        total: Value = Fraction(0) if adds else Fraction(1)
        before = self._bound.get(node.name)
        for index in range(int(low), int(high) + 1):
            self._bound[node.name] = Fraction(index)
            term = self(node.parts[2])
            total = self._checked(add(total, term) if adds else multiply(total, term))
        if before is None:
            self._bound.pop(node.name, None)
        else:
            self._bound[node.name] = before
        return total

    def _checked(self, value: Value) -> Value:
        if isinstance(value, Fraction):
            if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
                raise Unreadable("too large")
        elif not mpmath.isfinite(value) or abs(mpmath.mag(value)) > MAX_MAGNITUDE:
            if value == 0 or mpmath.isinf(value):
                return value
            raise Unreadable("not finite, or too large")
        return value


def _points(names: frozenset[str]) -> list[dict[str, Fraction]]:
    """Points of both signs, then whole ones."""
    spans = ((1, 3), (0, 1), (3, 11), (-3, -1), (-1, 0))
    real = [
        {name: drawn(f"{place}{name}", *span) for name in names} for place, span in enumerate(spans)
    ]
    whole = [
        {name: Fraction(int(drawn(f"w{place}{name}", 1, 12))) for name in names}
        for place in range(3)
    ]
    return real + whole


def equal(left: Node, right: Node) -> bool:
    """Whether two expressions have the same value wherever both have one.

    Raises:
        Unreadable: one of them has no value at any point.
    """
    return _equal(left, right, log10=False) or (
        any(
            node.op == "call" and node.name == "log"
            for side in (left, right)
            for node in side.walk()
        )
        and _equal(left, right, log10=True)
    )


def _equal(left: Node, right: Node, *, log10: bool) -> bool:
    names = left.names | right.names
    if not names:
        return same_number(left, right, log10=log10)
    complex_too = any(
        node.op == "constant" and node.name == "i" for side in (left, right) for node in side.walk()
    )
    agreed, last = 0, Unreadable("no point at which both have a value")
    for point in _points(names):
        try:
            with mpmath.workdps(DIGITS):
                values = [Evaluator(point, log10)(side) for side in (left, right)]
                if not complex_too and any(not _is_real(value) for value in values):
                    continue
                if not _close(*values):
                    return False
                agreed += 1
        except Unreadable as error:
            last = error
    if agreed < 2:
        raise last
    return True


def _is_real(value: Value) -> bool:
    return isinstance(value, Fraction) or abs(mpmath.im(value)) <= mpmath.mpf(10) ** (
        8 - DIGITS
    ) * (1 + abs(value))


def _close(left: Value, right: Value) -> bool:
    """Equal exactly, or to all but the last digits of the precision."""
    if is_exact(left, right):
        return bool(left == right)
    left, right = rounded(left), rounded(right)
    if mpmath.isinf(left) or mpmath.isinf(right):
        return bool(left == right)
    return bool(
        abs(left - right)
        <= mpmath.mpf(10) ** (15 - DIGITS) * max(abs(left), abs(right), mpmath.mpf(10) ** -20)
    )


def same_number(left: Node, right: Node, *, log10: bool = False) -> bool:
    """Whether two expressions without variables are one number.

    A number written with a point may be rounded: it stands for what is within half of its sixth
    decimal, of a tiny number within half of its sixth digit. Everything else must be equal, however
    small it is.

    Raises:
        Unreadable: one of them has no value.
    """
    cut = [
        node.decimals
        for side in (left, right)
        for node in side.walk()
        if node.op == "cut_off" and node.decimals
    ]
    with mpmath.workdps(DIGITS):
        one, other = Evaluator(log10=log10)(left), Evaluator(log10=log10)(right)
        if is_exact(one, other):
            if one == other:
                return True
        else:
            one, other = rounded(one), rounded(other)
            if mpmath.isinf(one) or mpmath.isinf(other):
                return bool(one == other)
            gap, size = abs(one - other), max(abs(one), abs(other))
            if gap <= mpmath.mpf(10) ** (20 - DIGITS) * size:
                return True
        if cut:
            return bool(abs(rounded(one) - rounded(other)) < mpmath.mpf(10) ** -min(cut))
        if any(node.decimals is not None for side in (left, right) for node in side.walk()):
            return _within_rounding(one, other)
        if is_exact(one, other):
            return False
    # what vanishes as the precision grows is zero, what stays is a tiny number
    with mpmath.workdps(2 * DIGITS):
        again = abs(rounded(Evaluator(log10=log10)(left)) - rounded(Evaluator(log10=log10)(right)))
        return bool(gap != 0 and again <= gap * mpmath.mpf(10) ** (10 - DIGITS))


def _within_rounding(one: Value, other: Value) -> bool:
    gap, size = abs(rounded(one) - rounded(other)), max(abs(rounded(one)), abs(rounded(other)))
    return bool(gap <= _ROUNDED * (1 if size >= _TINY else size))
