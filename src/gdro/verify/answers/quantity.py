"""Quantities: read from tokens as an expression with a unit before or behind it, and compared:
values by `evaluate`, units by `units.factors`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

from gdro.verify.answers.evaluate import equal
from gdro.verify.answers.expression import parse
from gdro.verify.answers.forms import Form, Quantity, Table, Words
from gdro.verify.answers.lexicon import NUMBER_WORDS, UNITS, words_of
from gdro.verify.answers.nodes import KNOWN, TRIGONOMETRIC, Node, Unreadable
from gdro.verify.answers.numerals import spoken_number
from gdro.verify.answers.split import Tokens, currency
from gdro.verify.answers.tokens import Token
from gdro.verify.answers.units import NONE, factors, read_phrase, read_unit

_LETTERS = words_of("m s g h L l N J W V A K C F T kg km cm mm mol min Hz Pa rad")
_OF_NUMBERS = frozenset({"+", "-", "/", "*", "^", "{", "}", "\\times", "\\cdot"})
_FRACTIONS = ("\\frac", "\\dfrac", "\\tfrac")
_MAX_SPOKEN = 8
_NO_COUNT = frozenset({"of", "less", "fewer", "times", "by", "to", "another", "and"})
"""Words behind a number in words that make it no count, `one of them`."""
_AND_AT_END = re.compile(r"[\s,]*(?:and)?\s*$")


def quantity(tokens: Tokens) -> Quantity:
    """An expression with a unit before or behind it; several of one kind (`3 ft 4 in`) are their
    sum.

    Raises:
        Unreadable: it is no expression, or what stands around it is more than a unit.
    """
    lead, rest = currency(tokens)
    node, end = parse(rest)
    tail = list(rest[end:])
    if (
        node.name in ("a", "A")
        and tail
        and tail[0].kind == "text"
        and not _names_unit(tail[0].text)
    ):
        raise Unreadable("an article")
    node, percent = _without_percent(node)
    if lead:
        return Quantity(node, read_unit([Token("text", lead), *tail]))
    if percent:
        return Quantity(node, read_unit([Token("text", "%"), *tail]))
    degree = any(part.op == "degree" for part in _outside_functions(node))
    again = next(
        (place for place, token in enumerate(tail) if place and _starts_again(tail, place)), None
    )
    quotient = tail[:1] and tail[0].text == "/"  # `2 g/cm^3`
    if (not tail or quotient) and (measured := _measured(rest)) is not None:
        return Quantity(node, read_unit(tail) if tail else NONE, measured)
    if again is not None:
        words = [token._replace(text=_AND_AT_END.sub("", token.text)) for token in tail[:again]]
        first = Quantity(node, read_unit(words, degree=degree))
        return _sum(first, quantity(tail[again:]))
    return Quantity(node, read_unit(tail, degree=degree) if tail or degree else NONE)


def _names_unit(words: str) -> bool:
    first = words.split()[0] if words.strip() else ""
    return first in UNITS or first in ("square", "cubic", "units")


def _measured(tokens: Tokens) -> Quantity | None:
    """A number and letters that name a unit: `5 m`, `5m/s`. One letter close to its number is a
    factor where the gold has no unit; the unit then keeps it as its `letter`."""
    value = list(
        takewhile(lambda token: token.kind == "number" or token.text in _OF_NUMBERS, tokens)
    )
    behind = tokens[len(value) :]
    if not value or not behind:
        return None
    names = [token for token in behind if token.kind in ("letter", "text")]
    if not names or any(token.text not in _LETTERS for token in names):
        return None
    try:
        unit = read_unit(
            [one._replace(kind="text") if one.kind == "letter" else one for one in behind]
        )
    except Unreadable:
        return None
    node, end = parse(value)
    quotient = len(names) > 1 and any(token.text in ("/", *_FRACTIONS) for token in behind)
    letter = "" if behind[0].spaced or quotient else names[0].text
    known = unit.known and end == len(value)
    return Quantity(node, replace(unit, letter=letter)) if known else None


def together(parts: Sequence[Form]) -> Quantity | None:
    """`12 dollars and 50 cents` as one value; None if the parts are several ones."""
    total, *others = parts
    for part in others:
        if not (isinstance(total, Quantity) and isinstance(part, Quantity)):
            return None
        if part.unit.bases != total.unit.bases or not part.unit.factor < total.unit.factor:
            return None
        total = replace(_sum(total, part), unit=total.unit)
    return total if isinstance(total, Quantity) and others else None


def scaled(factor: Node, table: Form) -> Table:
    """A matrix with every cell times a factor."""
    if not isinstance(table, Table):
        raise Unreadable("a factor before lines")
    cells = [[as_quantity(cell) for cell in row] for row in table.rows]
    rows = [
        tuple(replace(cell, node=Node("multiply", (factor, cell.node))) for cell in row if cell)
        for row in cells
    ]
    if any(None in row for row in cells):
        raise Unreadable("a factor before what is no matrix of numbers")
    return Table(tuple(rows))


def counted(words: str) -> Quantity | None:
    """A number in words with what it counts behind it; None if they say anything else.

    >>> counted("three apples").node.value, counted("three or four"), counted("one of them")
    (Fraction(3, 1), None, None)
    """
    parts = words.split()
    for size in range(min(len(parts) - 1, _MAX_SPOKEN), 0, -1):
        value = spoken_number(" ".join(parts[:size]))
        if value is None:
            continue
        rest = parts[size:]
        whole = value.denominator == 1
        if (whole and rest[0] in _NO_COUNT) or any(word in NUMBER_WORDS for word in rest):
            return None
        try:
            return Quantity(Node("number", value=value), read_phrase(" ".join(rest)))
        except Unreadable:
            return None
    return None


def mixed(parts: Sequence[Form]) -> Quantity | None:
    """`1 and 1/2` as the mixed number that it may be."""
    nodes = [part.node for part in parts if isinstance(part, Quantity)]
    if len(nodes) != 2 or len(parts) != 2 or nodes[0].op != "number" or nodes[1].op != "divide":
        return None
    top, bottom = nodes[1].parts
    proper = top.op == bottom.op == "number" and 0 < top.value < bottom.value
    first, last = parts
    assert isinstance(first, Quantity)
    assert isinstance(last, Quantity)
    if not proper or first.unit != NONE or nodes[0].decimals is not None:
        return None
    return Quantity(Node("add", (nodes[0], nodes[1])), last.unit)


def _starts_again(tail: Tokens, place: int) -> bool:
    """Whether a second value begins here, with words behind it: an exponent (`m2`) has none."""
    if tail[place].kind != "number" or tail[place - 1].kind != "text":
        return False
    return any(token.kind == "text" for token in tail[place + 1 :])


def _sum(first: Quantity, second: Quantity) -> Quantity:
    if not first.unit.known or first.unit.bases != second.unit.bases:
        raise Unreadable("two values")
    (factor,) = factors(first.unit, second.unit)
    added = second.node if factor is None else Node("multiply", (second.node, factor))
    return Quantity(Node("add", (first.node, added)), first.unit)


def _without_percent(node: Node) -> tuple[Node, bool]:
    if node.op == "percent":
        return node.parts[0], True
    if node.op == "negative":
        inner, percent = _without_percent(node.parts[0])
        return (Node("negative", (inner,)), True) if percent else (node, False)
    return node, False


def _outside_functions(node: Node) -> Iterator[Node]:
    if not (node.op == "call" and node.name in TRIGONOMETRIC):
        yield node
        for part in node.parts:
            yield from _outside_functions(part)


def as_quantity(form: Form) -> Quantity | None:
    """A quantity, one in words, or a single letter as the variable or constant that it is."""
    if isinstance(form, Quantity):
        return form
    if isinstance(form, Words) and form.count is not None:
        return form.count
    if isinstance(form, Words) and len(form.text) == 1 and form.text.isalpha():
        constant = form.text in ("e", "i")
        return Quantity(Node("constant" if constant else "name", name=form.text))
    return None


def is_number(form: Form) -> bool:
    """Whether it is a quantity without variables and functions that nobody defined."""
    if not isinstance(form, Quantity) or form.node.names:
        return False
    return all(node.op != "call" or node.name in KNOWN for node in form.node.walk())


def same_quantity(gold: Quantity, answer: Quantity) -> bool:
    """Whether the answer's value with its unit is the gold's.

    A unit that only one of them has is no difference, and letters are one where the gold is a
    number; two known units that measure different things
    are. A letter that is read as a unit may be a factor of the gold (`5m`); behind a blank the gold
    has it as a unit (`5 m`).
    """
    measured = answer.measured if not gold.node.names else None
    if measured is not None and (gold.unit.known or not measured.unit.letter):
        return same_quantity(gold, measured)
    answer = _with_i(gold, answer)
    for factor in factors(gold.unit, answer.unit):
        node = answer.node if factor is None else Node("multiply", (answer.node, factor))
        if same_node(gold.node, node):
            return True
    if answer.unit.letter and not gold.unit.known and answer.unit.letter in gold.node.names:
        return same_node(
            gold.node, Node("multiply", (answer.node, Node("name", name=answer.unit.letter)))
        )
    if gold.measured is not None and not gold.measured.unit.letter:  # `20 m/s`
        return same_quantity(gold.measured, answer)
    return False


def _with_i(gold: Quantity, answer: Quantity) -> Quantity:
    """`3-4j` and `3-4I` beside a complex number without such a name."""
    written = answer.node.names & {"j", "I"}
    is_complex = any(node.op == "constant" and node.name == "i" for node in gold.node.walk())
    if len(written) != 1 or not is_complex or written & gold.node.names:
        return answer
    (letter,) = written
    return replace(answer, node=renamed(answer.node, letter, Node("constant", name="i")))


def renamed(node: Node, name: str, other: Node) -> Node:
    """The expression with another node in a name's place."""
    if node.op == "name" and node.name == name:
        return other
    return replace(node, parts=tuple(renamed(part, name, other) for part in node.parts))


def same_node(left: Node, right: Node) -> bool:
    """`evaluate.equal`; capital and small letters are one name where neither expression has
    both."""
    try:
        if equal(left, right):
            return True
    except Unreadable:
        return left == right
    names = left.names ^ right.names
    if not names or any(
        len({name for name in side.names if name.casefold() == one.casefold()}) > 1
        for side in (left, right)
        for one in names
    ):
        return False
    return equal(_folded(left), _folded(right))


def _folded(node: Node) -> Node:
    parts = tuple(_folded(part) for part in node.parts)
    name = node.name.casefold() if node.op == "name" else node.name
    return Node(node.op, parts, name, node.value, node.decimals)
