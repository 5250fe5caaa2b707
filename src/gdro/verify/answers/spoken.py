"""Numbers in words."""

from __future__ import annotations

import re
from fractions import Fraction

from gdro.verify.answers.lexicon import NUMBER_WORDS

_LARGE = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
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
    >>> spoken_number("three or four"), spoken_number("one two")
    (None, None)
    """
    words = [word for word in re.split(r"[\s-]+", text.casefold().strip()) if word != "and"]
    if not words:
        return None
    part = _PARTS.get(words[-1].rstrip("s") if words[-1] != "halves" else "half")
    if part is not None:
        count = _whole(words[:-1]) if words[:-1] not in ([], ["a"], ["one"]) else 1
        return None if count is None else Fraction(count, part)
    whole = _whole(words)
    return None if whole is None else Fraction(whole)


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
