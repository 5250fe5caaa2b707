"""Numbers that are not plain digits: in words, and with a base that they say (`1011_2`, `2A_{16}`,
`1011 (base 2)`, `0b1011`)."""

from __future__ import annotations

import re
from fractions import Fraction

from gdro.verify.answers.forms import Based, Quantity
from gdro.verify.answers.lexicon import NUMBER_WORDS, QUALIFIERS
from gdro.verify.answers.nodes import Node

_LARGE = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_DOZENS = {"dozen": 12, "half a dozen": 6, "half dozen": 6}
_ORDINALS = "half third fourth fifth sixth seventh eighth ninth tenth"
_PARTS = {name: parts for parts, name in enumerate(_ORDINALS.split(), start=2)} | {
    "quarter": 4,
    "halve": 2,
    "hundredth": 100,
    "thousandth": 1000,
}


def spoken_number(text: str) -> Fraction | None:
    """The number that words say, all of them; None if they say none.

    >>> (spoken_number("twenty-five"), spoken_number("two thirds"),
    ... spoken_number("one hundred and five"))
    (Fraction(25, 1), Fraction(2, 3), Fraction(105, 1))
    >>> spoken_number("three or four"), spoken_number("three and a half")
    (None, Fraction(7, 2))
    """
    words = re.split(r"[\s-]+", text.casefold().strip())
    if words[:1] in (["negative"], ["minus"]):
        value = spoken_number(" ".join(words[1:]))
        return None if value is None or value < 0 else -value
    if "point" in words:
        return _decimal(words)
    if text.strip() in _DOZENS:
        return Fraction(_DOZENS[text.strip()])
    value = _part([word for word in words if word != "and"])
    if value is None and "and" in words:  # `three and a half`
        place = len(words) - 1 - words[::-1].index("and")
        whole, part = _whole(words[:place]), _part(words[place + 1 :])
        value = None if whole is None or part is None or part >= 1 else whole + part
    return value


def _part(words: list[str]) -> Fraction | None:
    """A whole number, or parts of one: `two thirds`."""
    if not words:
        return None
    part = _PARTS.get(words[-1].rstrip("s") if words[-1] != "halves" else "half")
    if part is not None:
        count = _whole(words[:-1]) if words[:-1] not in ([], ["a"], ["one"]) else 1
        return None if count is None else Fraction(count, part)
    whole = _whole(words)
    return None if whole is None else Fraction(whole)


def _decimal(words: list[str]) -> Fraction | None:
    """`three point one four`."""
    place = words.index("point")
    whole = _whole(words[:place]) if place else 0
    digits = [NUMBER_WORDS.get(word, 10) for word in words[place + 1 :]]
    if whole is None or not digits or max(digits) > 9:
        return None
    return Fraction(f"{whole}.{''.join(map(str, digits))}")


def _whole(words: list[str]) -> int | None:
    """`two hundred five` as 205: ones after tens, both before a large word, large words in falling
    order."""
    total = group = 0
    last = 10**12
    for word in ["one" if word in ("a", "an") and len(words) > 1 else word for word in words]:
        if word in _LARGE and (group or word == "hundred"):
            size = _LARGE[word]
            if size == 100:
                group = max(group, 1) * 100
            elif size < last:
                total, group, last = total + group * size, 0, size
            else:
                return None
        elif word in NUMBER_WORDS and word not in _LARGE:
            value = NUMBER_WORDS[word]
            room = 100 if group % 100 == 0 else 10 if group % 10 == 0 and group % 100 >= 20 else 1
            if not 0 <= value < room or (value == 0 and len(words) > 1):
                return None
            group += value
        else:
            return None
    return total + group


_MAX_SPOKEN = 120
_FIRST_LETTERS = frozenset(word[0] for word in NUMBER_WORDS) | {"a", "h", "m", "q"}
_TWICE = re.compile(r"([A-Za-z][A-Za-z -]*?)\s*\(\s*(\d+)\s*\)")
_AND_A_HALF = re.compile(r"(?<![\d.,/])(\d{1,9})\s+(?:\\text\s*\{\s*)?and a half\b\s*\}?")
_BASE = re.compile(r"([0-9A-Fa-f]+)_(?:base-?)?(\d{1,2}|[a-z]+)")
_SPOKEN_BASE = re.compile(r"([0-9A-Fa-f]+),?(?:in)?base-?(\d{1,2}|[a-z]+)")
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


def in_digits(plain: str) -> str:
    """A number in words in front of a text (undressed) as digits, if it is all of it or its digits
    follow in brackets: `Three (3) apples`."""
    plain = _AND_A_HALF.sub(r"\1\\frac{1}{2}", plain)
    if plain[:1] not in "\\{" and plain[:1].casefold() not in _FIRST_LETTERS:
        return plain
    bare = re.sub(r"\\text\s*\{([^{}\\]*)\}", r" \1 ", plain[:_MAX_SPOKEN]).strip(" {}.")
    if (twice := _TWICE.match(bare)) is not None and len(plain) <= _MAX_SPOKEN:
        value = spoken_number(twice[1])
        if value is not None and str(value) == twice[2]:
            return f"{twice[2]} {bare[twice.end() :]}".strip()
    if " and " not in bare or len(plain) > _MAX_SPOKEN:
        return plain
    if (value := spoken_number(bare)) is not None:
        return str(value)
    words = bare.split()
    last = len(words) - 1 - words[::-1].index("and")
    if len(words) > last + 3 and (value := spoken_number(" ".join(words[: last + 3]))) is not None:
        return rf"{value} \text{{{' '.join(words[last + 3 :])}}}"  # `two and a half hours`
    return plain


_DECIMAL_COMMA = re.compile(
    r"""(?P<before>(?:\u2248|\\approx|[-=~\u2212\s]|\\?[$€£¥])*)
        (?:(?P<whole>\d+),(?P<part>\d{1,2})
          |(?P<groups>\d{1,3}(?:[. '\u00a0\u202f]\d{3})+),(?P<rest>\d{1,6}))
        (?P<after>(?:\s|~|\\[,;: ])*(?:\\?%|\\?\$|[€£¥‰°]|\\(?:text|mathrm)\s*\{[^{}\d]{1,30}\}
          |\^\{?\\circ\}?|[^\W\d_]{1,15}\.?|(?:\\cdot|\\times|[×·*])\s*10\s*
            (?:\^\s*\{?\s*[-\u2212]?\d{1,4}\}?|[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?\s*)""",
    re.VERBOSE,
)
_HOURS = re.compile(
    r"(\d{1,2})h(?:ours?|rs?)?(?:and)?([0-5]?\d)(?:m|mn|mins?|minutes?)?(am|pm)?", re.IGNORECASE
)
_O_CLOCK = re.compile(r"(\d{1,2})o'clock(am|pm)?")
_MAX_TIME = 80


def with_point(text: str) -> str | None:
    """A number with a decimal comma, alone or with a unit, with a point instead: `3,5`,
    `1.234,50 €`; None for any other text."""
    found = _DECIMAL_COMMA.fullmatch(text)
    if found is None:
        return None
    whole = re.sub(r"\D", "", found["whole"] or found["groups"])
    return f"{found['before']}{whole}.{found['part'] or found['rest']}{found['after']}"


def times(plain: str) -> list[str]:
    """What `17h30` (undressed) may be, a time of the day and a span; of another text nothing.

    >>> times("17h30"), times("2 h 5 min"), times("5")
    (['17:30 h', '17 hours 30 minutes'], ['2 hours 5 minutes'], [])
    """
    if len(plain) > _MAX_TIME or ("h" not in plain.casefold() and "o'" not in plain):
        return []
    compact = re.sub(r"\\text(?![a-zA-Z])|[\s{}.]", "", plain)
    if (clock := _O_CLOCK.fullmatch(compact)) is not None:
        return [f"{clock[1]}:00 {clock[2] or 'h'}"]
    if (found := _HOURS.fullmatch(compact)) is None:
        return []
    hour, minute, half = found.groups()
    day = [f"{hour}:{minute} {half or 'h'}"] if len(minute) == 2 and int(hour) <= 24 else []
    return day if half else [*day, f"{hour} hours {minute} minutes"]


_MONTHS = list(dict.fromkeys(word for kind, word in QUALIFIERS.values() if kind == "month"))
_MONTH = "|".join(name for name, (kind, _) in QUALIFIERS.items() if kind == "month")
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_DATE = re.compile(
    rf"({_MONTH})\.?\s*{_DAY}(?:,\s*|\s+)(\d{{3,4}})|{_DAY}\s+(?:of\s+)?({_MONTH})\.?,?\s+(\d{{3,4}})",
    re.IGNORECASE,
)


def read_date(plain: str) -> Quantity | None:
    """A day with its year (undressed) as one number, `July 4, 1776` as 17760704; None for any other
    text."""
    if len(plain) > _MAX_TIME:
        return None
    text = re.sub(r"\\text\s*\{([^{}\\]*)\}", r"\1", plain)
    if (found := _DATE.fullmatch(" ".join(text.split()))) is None:
        return None
    month, day, year = (
        (found[1], found[2], found[3]) if found[1] else (found[5], found[4], found[6])
    )
    place = _MONTHS.index(QUALIFIERS[month.casefold()][1]) + 1
    value = 10_000 * int(year) + 100 * place + int(day)
    return Quantity(Node("number", value=Fraction(value)))


def read_based(plain: str) -> Based | None:
    """The number with its base; None for any other text (undressed)."""
    while plain.startswith("{") and plain.endswith("}"):
        plain = plain[1:-1]
    plain = re.sub(r"\\(?:text|overline)\s*\{([^{}\\]*)\}", r"\1", plain)
    compact = re.sub(r"[\s{}()]", "", plain)
    if (program := _PROGRAM_BASE.fullmatch(compact)) is not None:
        return _in_base(program[2], _BASE_WORDS[program[1]])
    found = _BASE.fullmatch(compact) or _SPOKEN_BASE.fullmatch(compact)
    if found is None:
        return None
    base = found[2]
    number = int(base) if base.isdigit() else _BASE_WORDS.get(base, 0)
    named = found[1].isalpha() and (len(found[1]) < 2 or not found[1].isupper())
    return None if named else _in_base(found[1], number)


def _in_base(digits: str, base: int) -> Based | None:
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in digits):
        return None
    return Based(digits.lower().lstrip("0") or "0", base)
