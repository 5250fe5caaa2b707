"""The value of an expression: exact where it is rational, else to 60 or 120 digits; and whether two are equal.

Two expressions with variables are equal if they agree at points drawn once for all from their names: rational ones of
both signs and whole ones, exactly where no root or function stands in the way. Different expressions agree at all of
them with a probability that is nil (Schwartz 1980, Zippel 1979).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from typing import Any

import mpmath

from gdro.verify.answers.nodes import TRIGONOMETRIC, Node, Unreadable

Value = Any
"""A Fraction where it is exact, else an mpf or mpc of mpmath."""
_DIGITS = 60
_MAX_BITS = 400_000
"""Of an exact number; a larger one is not read here."""
_MAX_MAGNITUDE = 1_000_000
"""Binary exponent of a rounded number."""
_MAX_TERMS = 1_000
_MAX_FACTORIAL = 10_000
_ROUNDED = 5e-7
"""Half of the sixth decimal: how near a decimal must be to what it stands for (as math-verify rounds)."""
_TINY = 1e-3
"""Below this size a decimal must be near relative to what it stands for: tiny numbers are not all equal."""


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
            return _constant(node.name)
        parts = [self(part) for part in node.parts]
        operation = _OPERATIONS.get(node.op)
        if operation is not None:
            return operation(*parts)
        if node.op == "degree":
            return parts[0] * (_real(mpmath.pi) / 180) if self._angle else parts[0]
        raise Unreadable(f"{node.op} has no single value")

    def _call(self, node: Node) -> Value:
        name = node.name
        trigonometric = name in TRIGONOMETRIC
        self._angle += trigonometric
        try:
            parts = [self(part) for part in node.parts]
        finally:
            self._angle -= trigonometric
        if name in _WHOLE and all(isinstance(part, Fraction) and part.denominator == 1 for part in parts):
            return Fraction(_WHOLE[name](*(int(part) for part in parts)))
        if name in ("\\max", "\\min"):
            return (max if name == "\\max" else min)(parts)
        if name == "log":
            return _logarithm(parts[0], Fraction(10)) if self.log10 else _logarithm(parts[0], None)
        if name == "ln":
            return _logarithm(parts[0], None)
        if name == "lg":
            return _logarithm(parts[0], Fraction(10))
        if name in _ELEMENTARY:
            argument = _rounded(parts[0])
            if mpmath.mag(argument) > 4_000:
                raise Unreadable("an argument too large")
            return _ELEMENTARY[name](argument)
        return _unknown(name, parts)

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
            total = self._checked(_add(total, term) if adds else _multiply(total, term))
        if before is None:
            self._bound.pop(node.name, None)
        else:
            self._bound[node.name] = before
        return total

    def _checked(self, value: Value) -> Value:
        if isinstance(value, Fraction):
            if value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
                raise Unreadable("too large")
        elif not mpmath.isfinite(value) or abs(mpmath.mag(value)) > _MAX_MAGNITUDE:
            if value == 0 or mpmath.isinf(value):
                return value
            raise Unreadable("not finite, or too large")
        return value


def _rounded(value: Value) -> Any:
    return _real(value) if isinstance(value, Fraction) else value


def _real(value: Any) -> Any:
    if isinstance(value, Fraction):
        return mpmath.mpf(value.numerator) / value.denominator
    return mpmath.mpf(value) if not isinstance(value, mpmath.mpf | mpmath.mpc) else value


def _exact(*values: Value) -> bool:
    return all(isinstance(value, Fraction) for value in values)


def _binary(exact: Callable[[Any, Any], Any]) -> Callable[[Value, Value], Value]:
    def apply(left: Value, right: Value) -> Value:
        result: Value = exact(left, right) if _exact(left, right) else exact(_rounded(left), _rounded(right))
        return result

    return apply


_add = _binary(lambda left, right: left + right)
_multiply = _binary(lambda left, right: left * right)
_divide = _binary(lambda left, right: left / right)


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if bits * abs(exponent.numerator) <= _MAX_BITS:
                return base ** int(exponent)
            if abs(exponent.numerator) > 10**6:
                raise Unreadable("a power too large")
        elif (root := _exact_root(base, exponent.denominator)) is not None and base >= 0:
            return _power(root, Fraction(exponent.numerator))
    base, exponent = _rounded(base), _rounded(exponent)
    if base == 0:
        if exponent <= 0:
            raise Unreadable("zero to a power that is not positive")
        return Fraction(0)
    size = abs(mpmath.mag(base)) + 1
    if mpmath.mag(exponent) > 40 or size * abs(exponent) > _MAX_MAGNITUDE:
        raise Unreadable("a power too large")
    return mpmath.power(base, exponent)


def _root(radicand: Value, degree: Value) -> Value:
    if not isinstance(degree, Fraction) or degree.denominator != 1 or degree < 1 or degree > 10_000:
        return _power(radicand, _divide(Fraction(1), degree))
    if isinstance(radicand, Fraction):
        if (root := _exact_root(abs(radicand), int(degree))) is not None and (radicand >= 0 or degree % 2):
            return root if radicand >= 0 else -root
        if radicand < 0 and degree % 2:
            return -mpmath.root(_real(-radicand), int(degree))
    return mpmath.root(_rounded(radicand), int(degree))


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    """The rational root of a number that is not negative, if it has one."""
    if value < 0 or value.numerator.bit_length() + value.denominator.bit_length() > 4_000:
        return None
    roots = [_whole_root(part, degree) for part in (value.numerator, value.denominator)]
    return None if None in roots else Fraction(roots[0] or 0, roots[1] or 1)


def _whole_root(number: int, degree: int) -> int | None:
    if degree == 2:
        found = math.isqrt(number)
    elif degree > number.bit_length():
        found = min(number, 1)
    else:
        found = int(mpmath.nint(mpmath.root(number, degree))) if number else 0
    return found if found**degree == number else None


def _factorial(value: Value) -> Value:
    if isinstance(value, Fraction) and value.denominator == 1 and value >= 0:
        if value > _MAX_FACTORIAL:
            raise Unreadable("a factorial too large")
        return Fraction(math.factorial(int(value)))
    if abs(_rounded(value)) > _MAX_FACTORIAL:
        raise Unreadable("a factorial too large")
    return mpmath.factorial(_rounded(value))


def _double_factorial(value: Value) -> Value:
    if not isinstance(value, Fraction) or value.denominator != 1 or not -1 <= value <= _MAX_FACTORIAL:
        raise Unreadable("a double factorial of this")
    return Fraction(math.prod(range(int(value), 0, -2)))


def _binomial(top: Value, bottom: Value) -> Value:
    if _exact(top, bottom) and top.denominator == bottom.denominator == 1 and 0 <= bottom <= _MAX_FACTORIAL:
        if 0 <= top <= 10**9 and min(bottom, top - bottom) <= 5_000:
            return Fraction(math.comb(int(top), int(bottom)))
        raise Unreadable("a binomial of this")
    if max(abs(_rounded(top)), abs(_rounded(bottom))) > _MAX_FACTORIAL:
        raise Unreadable("a binomial too large")
    return mpmath.binomial(_rounded(top), _rounded(bottom))


def _logarithm(value: Value, base: Value | None) -> Value:
    if _exact(value) and value == 0:
        raise Unreadable("the logarithm of zero")
    if base is None:
        return mpmath.log(_rounded(value))
    exact = mpmath.log(_rounded(value)) / mpmath.log(_rounded(base))
    nearest = mpmath.nint(mpmath.re(exact))
    close = abs(exact - nearest) < mpmath.mpf(10) ** (10 - _DIGITS) and abs(nearest) < 5_000
    if close and _exact(value, base) and base ** int(nearest) == value:
        return Fraction(int(nearest))
    return exact


def _floor(value: Value) -> Value:
    return Fraction(math.floor(value)) if isinstance(value, Fraction) else mpmath.floor(value)


def _constant(name: str) -> Value:
    if name == "infinity":
        return mpmath.inf
    return {"pi": +mpmath.pi, "e": +mpmath.e, "i": mpmath.mpc(0, 1)}[name]


def _unknown(name: str, parts: list[Value]) -> Value:
    """A function that nobody defined: some fixed number for each argument."""
    digits = ",".join(str(part) if isinstance(part, Fraction) else mpmath.nstr(part, 20) for part in parts)
    return _drawn(f"{name}({digits})", 1, 3)


_OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": lambda *terms: reduce(_add, terms),
    "multiply": lambda *factors: reduce(_multiply, factors),
    "divide": _divide,
    "power": _power,
    "root": _root,
    "negative": lambda value: -value,
    "factorial": _factorial,
    "double_factorial": _double_factorial,
    "absolute": abs,
    "floor": _floor,
    "ceiling": lambda value: -_floor(-value),
    "binomial": _binomial,
    "percent": lambda value: _divide(value, Fraction(100)),
    "log": _logarithm,
}
_WHOLE: dict[str, Callable[..., int]] = {"\\gcd": math.gcd, "\\lcm": math.lcm}
_ELEMENTARY: dict[str, Callable[[Any], Any]] = {
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "tan": mpmath.tan,
    "cot": mpmath.cot,
    "sec": mpmath.sec,
    "csc": mpmath.csc,
    "arcsin": mpmath.asin,
    "arccos": mpmath.acos,
    "arctan": mpmath.atan,
    "arccot": lambda value: mpmath.pi / 2 - mpmath.atan(value),
    "sinh": mpmath.sinh,
    "cosh": mpmath.cosh,
    "tanh": mpmath.tanh,
    "exp": mpmath.exp,
}


def _drawn(name: str, low: int, high: int) -> Fraction:
    """A fraction between the two that depends on the name alone."""
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return low + Fraction(digest % 9973 + 1, 9974) * (high - low)


def _points(names: frozenset[str]) -> list[dict[str, Fraction]]:
    """Points of both signs, then whole ones."""
    spans = ((1, 3), (0, 1), (3, 11), (-3, -1), (-1, 0))
    real = [{name: _drawn(f"{place}{name}", *span) for name in names} for place, span in enumerate(spans)]
    whole = [{name: Fraction(int(_drawn(f"w{place}{name}", 1, 12))) for name in names} for place in range(3)]
    return real + whole


def equal(left: Node, right: Node) -> bool:
    """Whether two expressions have the same value wherever both have one.

    Raises:
        Unreadable: one of them has no value at any point.
    """
    return _equal(left, right, log10=False) or (
        any(node.op == "call" and node.name == "log" for side in (left, right) for node in side.walk())
        and _equal(left, right, log10=True)
    )


def _equal(left: Node, right: Node, *, log10: bool) -> bool:
    names = left.names | right.names
    if not names:
        return same_number(left, right, log10=log10)
    complex_too = any(node.op == "constant" and node.name == "i" for side in (left, right) for node in side.walk())
    agreed, last = 0, Unreadable("no point at which both have a value")
    for point in _points(names):
        try:
            with mpmath.workdps(_DIGITS):
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
    return isinstance(value, Fraction) or abs(mpmath.im(value)) <= mpmath.mpf(10) ** (8 - _DIGITS) * (1 + abs(value))


def _close(left: Value, right: Value) -> bool:
    """Equal exactly, or to all but the last digits of the precision."""
    if _exact(left, right):
        return bool(left == right)
    left, right = _rounded(left), _rounded(right)
    if mpmath.isinf(left) or mpmath.isinf(right):
        return bool(left == right)
    return bool(
        abs(left - right) <= mpmath.mpf(10) ** (15 - _DIGITS) * max(abs(left), abs(right), mpmath.mpf(10) ** -20)
    )


def same_number(left: Node, right: Node, *, log10: bool = False) -> bool:
    """Whether two expressions without variables are one number.

    A number written with a point may be rounded: it stands for what is within half of its sixth decimal, of a tiny
    number within half of its sixth digit. Everything else must be equal, however small it is.

    Raises:
        Unreadable: one of them has no value.
    """
    cut = [node.decimals for side in (left, right) for node in side.walk() if node.op == "cut_off" and node.decimals]
    with mpmath.workdps(_DIGITS):
        one, other = Evaluator(log10=log10)(left), Evaluator(log10=log10)(right)
        if _exact(one, other):
            if one == other:
                return True
        else:
            one, other = _rounded(one), _rounded(other)
            if mpmath.isinf(one) or mpmath.isinf(other):
                return bool(one == other)
            gap, size = abs(one - other), max(abs(one), abs(other))
            if gap <= mpmath.mpf(10) ** (20 - _DIGITS) * size:
                return True
        if cut:
            return bool(abs(_rounded(one) - _rounded(other)) < mpmath.mpf(10) ** -min(cut))
        if any(node.decimals is not None for side in (left, right) for node in side.walk()):
            return _within_rounding(one, other)
        if _exact(one, other):
            return False
    with mpmath.workdps(2 * _DIGITS):  # what vanishes as the precision grows is zero, what stays is a tiny number
        again = abs(_rounded(Evaluator(log10=log10)(left)) - _rounded(Evaluator(log10=log10)(right)))
        return bool(gap != 0 and again <= gap * mpmath.mpf(10) ** (10 - _DIGITS))


def _within_rounding(one: Value, other: Value) -> bool:
    gap, size = abs(_rounded(one) - _rounded(other)), max(abs(_rounded(one)), abs(_rounded(other)))
    return bool(gap <= _ROUNDED * (1 if size >= _TINY else size))
