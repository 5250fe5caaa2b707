"""The forms that an answer can have."""

from __future__ import annotations

from dataclasses import dataclass

from gdro.verify.answers.nodes import Node
from gdro.verify.answers.units import NONE, Unit


@dataclass(frozen=True)
class Quantity:
    """An expression, with the unit behind it.

    Attributes:
        measured: another reading, with its letters as a unit: `5 m`.
    """

    node: Node
    unit: Unit = NONE
    measured: Quantity | None = None


@dataclass(frozen=True)
class Words:
    """A word, a name or a letter: only the same text equals it. `text` is normalised.

    Attributes:
        count: the number that the words begin with and what it counts, `three apples`; what is
            written in digits may equal it.
    """

    text: str
    count: Quantity | None = None


@dataclass(frozen=True)
class Opaque:
    """What is not read: only the same text equals it.

    Attributes:
        text: the plain LaTeX without blanks.
        reason: why it is not read.
        higher: it holds what math-verify may read (an integral, a limit, a matrix).
    """

    text: str
    reason: str = ""
    higher: bool = False


@dataclass(frozen=True)
class Group:
    """Several parts: `1, 2` (no brackets), `(1, 2)`, `[1, 2)`, `{1, 2}`; `joint` is ",",
    "and" or "or" between them."""

    parts: tuple[Form, ...]
    opening: str = ""
    closing: str = ""
    joint: str = ","


@dataclass(frozen=True)
class Relation:
    """`sides[0] signs[0] sides[1] ...`, signs among `= < > <= >= != ~` (approximately) `in` and
    others by name.

    Attributes:
        texts: the sides as written, without blanks, for names.
    """

    sides: tuple[Form, ...]
    signs: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class SetOperation:
    """`parts[0] op parts[1]`, op among `cup`, `cap`, `minus`."""

    op: str
    parts: tuple[Form, Form]


@dataclass(frozen=True)
class SetBuilder:
    """`{name : condition}`."""

    name: str
    condition: Form


@dataclass(frozen=True)
class Named:
    """A set with a name: `reals`, `integers`, `naturals`, `rationals`, `complex`, `empty`."""

    name: str


@dataclass(frozen=True)
class Based:
    """A number in a base: `1011_2`."""

    digits: str
    base: int


@dataclass(frozen=True)
class Modulo:
    """`3 (mod 7)`.

    Attributes:
        remainder: it is written as an operation, `20 mod 7`, which is 6.
    """

    value: Form
    modulus: Form
    remainder: bool = False


@dataclass(frozen=True)
class Ratio:
    """`1:2:3`, or a time of the day with `am` or `pm` as its unit; `texts` are its parts as
    written."""

    parts: tuple[Form, ...]
    unit: Unit
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A matrix or a vector, row by row."""

    rows: tuple[tuple[Form, ...], ...]


@dataclass(frozen=True)
class Choice:
    """A choice with its letter and its text: `(B) 12`."""

    letter: str
    value: Form


Form = (
    Quantity
    | Words
    | Opaque
    | Group
    | Relation
    | SetOperation
    | SetBuilder
    | Named
    | Based
    | Modulo
    | Ratio
    | Table
    | Choice
)
