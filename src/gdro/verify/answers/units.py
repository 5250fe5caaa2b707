r"""What stands behind or before a value: units, things counted, percent signs. And which may stand
for which.

What is dangerous is named (`lexicon.DANGEROUS`): words that make a statement of the value, digits
that are no exponent, and another known unit. Any other phrase of a few words is a thing counted and
changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from gdro.verify.answers.lexicon import (
    COPULAS,
    DANGEROUS,
    LEADING_DANGERS,
    MEASURES,
    QUALIFIERS,
    SCALES,
    VERDICTS,
    words_of,
)
from gdro.verify.answers.nodes import Node, Unreadable
from gdro.verify.answers.tokens import Token

_MAX_WORDS = 8
_PIECE = re.compile(
    r"""(?P<power>\^\s*\{?\s*(?P<exponent>-?\s*\d)\s*\}?)
    |(?P<word>(?:[^\W\d_]\.){2,}|[^\W\d_]+(?:['\u2019-][^\W\d_]+)*)
    |(?P<index>(?<=[a-zA-Z])-?[1-4](?!\d))
    |(?P<over>/)
    |(?P<sign>%|\\%|\$|\\\$|[€£¥₹¢₩₽₺₫฿])
    |(?P<degree>\u00b0)
    |(?P<silent>[\s.,()\[\]*'{}\u2019-]|\\cdot|\\times|\\,)
    """,
    re.VERBOSE,
)
_LABEL = re.compile(r"\(\s*[A-J]\s*\)\s*$")
"""The letter of a choice behind the value."""
_APPLIED = re.compile(
    r"\b(?:square|cube|root|sqrt|log|logarithm|ln|reciprocal|inverse|factorial|opposite|half|third"
    r"|quarter|fifth|tenth|multiple|power)s?(?: of(?: the)?)?\s*$"
)
"""Words directly before a value that make another one of it, `the square root of 3`."""
_NOT_AT_ALL = re.compile(r"n['\u2019]t\b")
_AUXILIARIES = words_of("has have do does did must should would been")
"""Before a value they say nothing about it, behind one they do: `3 must be wrong`."""
_NOT = r"(?:\b(?:not|never|cannot|neither|nor)\b|n['\u2019]t\b|[不非没])"
DENIAL = re.compile(
    rf"{_NOT}(?:\s*(?:be|equal|to|really|certainly|necessarily|actually|simply)\b)*"
    r"\s*(?:(?:is|are|be|was|were|equals?)\b|是|等于|为)?\s*$"
    rf"|^(?:(?!\b(?:that|which|who|whom|whose|where)\b).){{0,200}}?{_NOT}"
    rf"|{_NOT}\s+(?:think|believe|say|claim|mean|suppose|expect)\b|\b(?:could|might|may)(?:\s+be)?\s*$",
    re.IGNORECASE,
)
"""What denies the value behind these words, `it cannot be`; in `the number that is not drawn is` it
belongs to the name."""
_CIRCLE = re.compile(r"\^\s*\{?\s*\\circ\s*\}?")
_COMMAND = re.compile(r"\\(?!cdot|times)([a-zA-Z]{2,})")
"""A unit of siunitx, `\\meter\\per\\second`."""
_NAMED = {
    "\\Omega": "Ω",
    "\\AA": "angstrom",
    "\\mu": "μ",
    "\\ell": "L",
    "\\pounds": "£",
    "\\euro": "€",
    "\\yen": "¥",
}
_PREFIXES = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_SUFFIXES = {"squared": 2, "cubed": 3}
_ALLOWED = frozenset(
    {
        "€",
        "£",
        "¥",
        "₹",
        "₩",
        "₽",
        "¢",
        "^",
        "{",
        "}",
        "-",
        "/",
        "*",
        ".",
        "\\cdot",
        "\\times",
        "\\circ",
        "\\%",
        "%",
        "\\$",
        "(",
        ")",
        "[",
        "]",
        "'",
    }
)


@dataclass(frozen=True)
class Unit:
    """A unit phrase.

    Attributes:
        bases: what it measures, base -> power; None if a word of it is no known unit.
        factor: how many base units it is.
        scale: product of words such as "million" and of percent signs; the bare number is right
            too.
        qualifiers: words that tell values apart, (kind, word): `pm`, `June`, `north`.
        letter: the phrase itself if it is one letter, which in the gold may be a factor (`5m`).
    """

    bases: tuple[tuple[str, int], ...] | None = None
    factor: Fraction = Fraction(1)
    scale: Fraction = Fraction(1)
    qualifiers: frozenset[tuple[str, str]] = frozenset()
    letter: str = ""

    @property
    def known(self) -> bool:
        """Whether it says what is measured."""
        return bool(self.bases)


NONE = Unit(bases=())


def read_unit(tokens: Sequence[Token], *, degree: bool = False) -> Unit:
    """The unit that these tokens name, all of them.

    Args:
        tokens: what stands behind a value.
        degree: the value has a degree sign.

    Raises:
        Unreadable: they say more than a unit or a thing counted.
    """
    return read_phrase(("\u00b0 " if degree else "") + _phrase(tokens))


def _phrase(tokens: Sequence[Token]) -> str:
    parts = []
    for place, token in enumerate(tokens):
        if token.kind == "text":
            parts.append(token.text)
        elif token.text in _NAMED:
            parts.append(_NAMED[token.text])
        elif (
            token.kind == "letter"
            and place
            and any(before.kind == "text" for before in tokens[:place])
        ):
            parts.append(token.text)
        elif token.text in ("\\frac", "\\dfrac", "\\tfrac"):
            continue
        elif (
            token.kind == "number"
            and tokens[place - 1].text in ("^", "{", "-")
            and len(token.text) == 1
        ):
            parts.append(token.text)
        elif token.text in _ALLOWED:
            parts.append(token.text)
            continue
        else:
            raise Unreadable(f"{token.text} in a unit")
        if (
            place + 1 < len(tokens)
            and tokens[place + 1].kind in ("text", "letter")
            and token.kind != "number"
        ):
            parts.append(" ")
    first = next((token.text for token in tokens), "")
    joined = "".join(parts)
    return joined.replace("}{", "}/{") if first in ("\\frac", "\\dfrac", "\\tfrac") else joined


def read_phrase(phrase: str) -> Unit:
    """The unit that a phrase names.

    >>> read_phrase("square centimeters").factor, read_phrase("m/s^2").bases
    (Fraction(1, 10000), (('length', 1), ('time', -2)))
    >>> read_phrase("apples").bases is None
    True
    """
    phrase = _LABEL.sub("", _CIRCLE.sub("\u00b0 ", phrase))
    for command, sign in _NAMED.items():
        phrase = phrase.replace(command, sign)
    phrase = re.sub(r"μ\s+(?=[mgsF])", "μ", _COMMAND.sub(r" \1 ", phrase)).replace("k Ω", "kΩ")
    builder = _Builder()
    position, words = 0, list[str]()
    while position < len(phrase):
        found = _PIECE.match(phrase, position)
        if found is None:
            raise Unreadable(f"{phrase[position]!r} in a unit")
        position = found.end()
        if found["word"]:
            words.append(found["word"].lower())
            builder.word(found["word"])
        elif found["power"] or found["index"]:
            builder.power(int(re.sub(r"[^\d-]", "", found["exponent"] or found["index"])))
        elif found["over"]:
            builder.sign = -1
        elif found["sign"]:
            builder.word(found["sign"].lstrip("\\"))
        elif found["degree"]:
            builder.word("\u00b0")
    if len(words) > _MAX_WORDS or any(
        part in DANGEROUS for word in words for part in re.split("['\u2019]", word)
    ):
        raise Unreadable(f"words that state something: {phrase}")
    if words and words[-1] in VERDICTS:
        raise Unreadable(f"a verdict on the value: {phrase}")
    unit = builder.unit()
    return replace(unit, letter=phrase.strip()) if len(phrase.strip()) == 1 else unit


def check_lead(words: str) -> None:
    """Raise Unreadable for words before a value that make another value of it ("not", "at least",
    "between")."""
    if _APPLIED.search(words.lower()) or _NOT_AT_ALL.search(words):
        raise Unreadable(f"words that are applied to the value: {words}")
    found = {word.lower() for word in re.findall(r"[^\W\d_]+", words)}
    dangers = (DANGEROUS | LEADING_DANGERS) - COPULAS - _AUXILIARIES
    if "be" not in found:
        found.discard("could")  # `she could buy 3`, but `it could be 3`
    if found & dangers or any(danger in words for danger in dangers if not danger.isascii()):
        raise Unreadable(f"words that change the value: {words}")


def check_name(words: str) -> None:
    """Raise Unreadable for words on the left of `=` that deny it ("must not be", "cannot
    equal")."""
    if DENIAL.search(words) is not None:
        raise Unreadable(f"words that deny it: {words}")


class _Builder:
    """Collects the units of a phrase one after the other."""

    def __init__(self) -> None:
        self.sign = 1
        self._next = 1
        self._parts: list[tuple[dict[str, int], Fraction]] = []
        self._unknown = False
        self._scale = Fraction(1)
        self._qualifiers: set[tuple[str, str]] = set()

    def word(self, word: str) -> None:
        small = word.lower().rstrip(".")
        if small == "per":
            self.sign = -1
        elif small in _PREFIXES:
            self._next = _PREFIXES[small]
        elif small in _SUFFIXES:
            if not self._parts and not self._unknown:
                raise Unreadable(f"a power of the value: {word}")
            self.power(_SUFFIXES[small])
        elif small in QUALIFIERS:
            self._qualifiers.add(QUALIFIERS[small])
        elif word in SCALES or small in SCALES:
            self._scale *= SCALES.get(word, SCALES.get(small, Fraction(1)))
        elif self._temperature(word):
            pass
        elif (
            measure := MEASURES.get(word) or MEASURES.get(small) or MEASURES.get(word.rstrip("."))
        ) is not None:
            power = self.sign * self._next
            self._parts.append(
                ({base: times * power for base, times in measure.bases}, measure.factor**power)
            )
            self._next = 1
        else:
            self._unknown = True

    def _temperature(self, word: str) -> bool:
        """`° C` is no angle times a charge."""
        degrees = self._parts and self._parts[-1][0] == {"angle": 1}
        if not degrees or word.rstrip(".") not in (
            "C",
            "F",
            "Celsius",
            "Fahrenheit",
            "celsius",
            "fahrenheit",
        ):
            return False
        self._parts[-1] = ({"celsius" if word[0] in "cC" else "fahrenheit": 1}, Fraction(1))
        return True

    def power(self, exponent: int) -> None:
        if self._parts and exponent:
            bases, factor = self._parts[-1]
            self._parts[-1] = (
                {base: times * exponent for base, times in bases.items()},
                factor**exponent,
            )

    def unit(self) -> Unit:
        if self._unknown:
            return Unit(None, Fraction(1), self._scale, frozenset(self._qualifiers))
        total: dict[str, int] = {}
        factor = Fraction(1)
        for bases, part in self._parts:
            factor *= part
            for base, power in bases.items():
                total[base] = total.get(base, 0) + power
        return Unit(
            tuple(sorted((base, power) for base, power in total.items() if power)),
            factor,
            self._scale,
            frozenset(self._qualifiers),
        )


_ANGLE, _RADIAN, _CELSIUS, _FAHRENHEIT = (
    ((name, 1),) for name in ("angle", "radian", "celsius", "fahrenheit")
)
_DEGREE = Node("divide", (Node("constant", name="pi"), Node("number", value=Fraction(180))))
_IN_DEGREES = Node("divide", (Node("number", value=Fraction(1)), _DEGREE))


def factors(gold: Unit, answer: Unit) -> list[Node | None]:
    """By which factors an answer's value may be multiplied to be compared with the gold's (None is
    one).

    Empty where both units are known and measure different things, or their qualifiers contradict
    each other.
    """
    kinds = dict(gold.qualifiers)
    if any(kinds.get(kind, word) != word for kind, word in answer.qualifiers):
        return []
    if gold.scale == answer.scale:
        scales = [Fraction(1)]
    else:
        scales = sorted({Fraction(1), answer.scale / gold.scale})
    if gold.known and answer.known:
        if gold.bases == answer.bases:
            return [_number(scale * answer.factor / gold.factor) for scale in scales]
        pair = {gold.bases, answer.bases}
        if pair in ({_ANGLE, _CELSIUS}, {_ANGLE, _FAHRENHEIT}):  # a degree sign without its letter
            return [None]
        return (
            [_DEGREE if answer.bases == _ANGLE else _IN_DEGREES]
            if pair == {_ANGLE, _RADIAN}
            else []
        )
    found = [_number(scale) for scale in scales]
    if answer.bases == _ANGLE and gold.bases == ():
        found.append(_DEGREE)
    if gold.bases == _ANGLE and answer.bases == ():
        found.append(_IN_DEGREES)
    return found


def _number(value: Fraction) -> Node | None:
    return None if value == 1 else Node("number", value=value)
