r"""Numbers that say their base: `1011_2`, `2A_{16}`, `1011 (base 2)`, `0b1011`."""

from __future__ import annotations

import re

from gdro.verify.answers.forms import Based

_BASE = re.compile(r"\(?([0-9A-Fa-f]+)\)?_(?:\{?\(?(\d{1,2})\)?\}?|\{?(?:\\text\{)?([a-z]+)\}?\}?)")
_SPOKEN_BASE = re.compile(
    r"([0-9A-Fa-f]+)\s*(?:\\text\{)?\s*[(,]?\s*(?:in )?base[- ]?(\d{1,2}|[a-z]+)\)?\}?"
)
_PROGRAM_BASE = re.compile(r"0([bxo])([0-9A-Fa-f]+)")
_BASE_WORDS = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
_BASE_WORDS |= {"twelve": 12, "sixteen": 16, "b": 2, "x": 16, "o": 8}


def read_based(plain: str) -> Based | None:
    """The number with its base; None for any other text (undressed)."""
    while plain.startswith("{") and plain.endswith("}"):
        plain = plain[1:-1]
    compact = plain.replace(" ", "")
    if (program := _PROGRAM_BASE.fullmatch(compact)) is not None:
        return _in_base(program[2], _BASE_WORDS[program[1]])
    found = _BASE.fullmatch(compact) or _SPOKEN_BASE.fullmatch(plain)
    if found is None:
        return None
    base = next(group for group in found.groups()[1:] if group)
    number = int(base) if base.isdigit() else _BASE_WORDS.get(base, 0)
    named = found[1].isalpha() and (len(found[1]) < 2 or not found[1].isupper())
    return None if named else _in_base(found[1], number)


def _in_base(digits: str, base: int) -> Based | None:
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in digits):
        return None
    return Based(digits.lower().lstrip("0") or "0", base)
