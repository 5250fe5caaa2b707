"""Arithmetic that is exact where it can be: on Fractions as long as they stay rational and small,
else on mpmath."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from typing import Any

import mpmath

from gdro.verify.answers.nodes import Unreadable

Value = Any
"""A Fraction where it is exact, else an mpf or mpc of mpmath."""
DIGITS = 60
MAX_BITS = 400_000
"""Of an exact number; a larger one is not read here."""
MAX_MAGNITUDE = 1_000_000
"""Binary exponent of a rounded number."""
_MAX_FACTORIAL = 10_000


def rounded(value: Value) -> Any:
    return to_float(value) if isinstance(value, Fraction) else value


def to_float(value: Any) -> Any:
    if isinstance(value, Fraction):
        return mpmath.mpf(value.numerator) / value.denominator
    return mpmath.mpf(value) if not isinstance(value, mpmath.mpf | mpmath.mpc) else value


def is_exact(*values: Value) -> bool:
    return all(isinstance(value, Fraction) for value in values)


def _binary(exact: Callable[[Any, Any], Any]) -> Callable[[Value, Value], Value]:
    def apply(left: Value, right: Value) -> Value:
        result: Value = (
            exact(left, right) if is_exact(left, right) else exact(rounded(left), rounded(right))
        )
        return result

    return apply


add = _binary(lambda left, right: left + right)
multiply = _binary(lambda left, right: left * right)
divide = _binary(lambda left, right: left / right)


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if bits * abs(exponent.numerator) <= MAX_BITS:
                return base ** int(exponent)
            if abs(exponent.numerator) > 10**6:
                raise Unreadable("a power too large")
        elif (root := _exact_root(base, exponent.denominator)) is not None and base >= 0:
            return _power(root, Fraction(exponent.numerator))
    base, exponent = rounded(base), rounded(exponent)
    if base == 0:
        if exponent <= 0:
            raise Unreadable("zero to a power that is not positive")
        return Fraction(0)
    size = abs(mpmath.mag(base)) + 1
    if mpmath.mag(exponent) > 40 or size * abs(exponent) > MAX_MAGNITUDE:
        raise Unreadable("a power too large")
    return mpmath.power(base, exponent)


def _root(radicand: Value, degree: Value) -> Value:
    if not isinstance(degree, Fraction) or degree.denominator != 1 or degree < 1 or degree > 10_000:
        return _power(radicand, divide(Fraction(1), degree))
    if isinstance(radicand, Fraction):
        if (root := _exact_root(abs(radicand), int(degree))) is not None and (
            radicand >= 0 or degree % 2
        ):
            return root if radicand >= 0 else -root
        if radicand < 0 and degree % 2:
            return -mpmath.root(to_float(-radicand), int(degree))
    return mpmath.root(rounded(radicand), int(degree))


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
    if abs(rounded(value)) > _MAX_FACTORIAL:
        raise Unreadable("a factorial too large")
    return mpmath.factorial(rounded(value))


def _double_factorial(value: Value) -> Value:
    if (
        not isinstance(value, Fraction)
        or value.denominator != 1
        or not -1 <= value <= _MAX_FACTORIAL
    ):
        raise Unreadable("a double factorial of this")
    return Fraction(math.prod(range(int(value), 0, -2)))


def _binomial(top: Value, bottom: Value) -> Value:
    if (
        is_exact(top, bottom)
        and top.denominator == bottom.denominator == 1
        and 0 <= bottom <= _MAX_FACTORIAL
    ):
        if 0 <= top <= 10**9 and min(bottom, top - bottom) <= 5_000:
            return Fraction(math.comb(int(top), int(bottom)))
        raise Unreadable("a binomial of this")
    if max(abs(rounded(top)), abs(rounded(bottom))) > _MAX_FACTORIAL:
        raise Unreadable("a binomial too large")
    return mpmath.binomial(rounded(top), rounded(bottom))


def logarithm(value: Value, base: Value | None) -> Value:
    if is_exact(value) and value == 0:
        raise Unreadable("the logarithm of zero")
    if base is None:
        return mpmath.log(rounded(value))
    exact = mpmath.log(rounded(value)) / mpmath.log(rounded(base))
    nearest = mpmath.nint(mpmath.re(exact))
    close = abs(exact - nearest) < mpmath.mpf(10) ** (10 - DIGITS) and abs(nearest) < 5_000
    if close and is_exact(value, base) and base ** int(nearest) == value:
        return Fraction(int(nearest))
    return exact


def _floor(value: Value) -> Value:
    return Fraction(math.floor(value)) if isinstance(value, Fraction) else mpmath.floor(value)


def constant(name: str) -> Value:
    if name == "infinity":
        return mpmath.inf
    return {"pi": +mpmath.pi, "e": +mpmath.e, "i": mpmath.mpc(0, 1)}[name]


def unknown(name: str, parts: list[Value]) -> Value:
    """A function that nobody defined: some fixed number for each argument."""
    digits = ",".join(
        str(part) if isinstance(part, Fraction) else mpmath.nstr(part, 20) for part in parts
    )
    return drawn(f"{name}({digits})", 1, 3)


OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": lambda *terms: reduce(add, terms),
    "multiply": lambda *factors: reduce(multiply, factors),
    "divide": divide,
    "power": _power,
    "root": _root,
    "negative": lambda value: -value,
    "factorial": _factorial,
    "double_factorial": _double_factorial,
    "absolute": abs,
    "floor": _floor,
    "ceiling": lambda value: -_floor(-value),
    "binomial": _binomial,
    "percent": lambda value: divide(value, Fraction(100)),
    "log": logarithm,
}
WHOLE: dict[str, Callable[..., int]] = {"\\gcd": math.gcd, "\\lcm": math.lcm}
ELEMENTARY_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
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


def drawn(name: str, low: int, high: int) -> Fraction:
    """A fraction between the two that depends on the name alone."""
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return low + Fraction(digest % 9973 + 1, 9974) * (high - low)
