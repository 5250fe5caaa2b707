r"""Tokens -> quantity: an expression with a unit before or behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gdro.verify.answers.expression import parse
from gdro.verify.answers.forms import Quantity
from gdro.verify.answers.nodes import TRIGONOMETRIC, Node, Unreadable
from gdro.verify.answers.split import Tokens, currency
from gdro.verify.answers.tokens import Token
from gdro.verify.answers.units import NONE, factors, read_unit

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
    node, percent = _without_percent(node)
    if lead:
        return Quantity(node, read_unit([Token("text", lead), *tail]))
    if percent:
        return Quantity(node, read_unit([Token("text", "%"), *tail]))
    degree = any(part.op == "degree" for part in _outside_functions(node))
    again = next(
        (place for place, token in enumerate(tail) if place and _starts_again(tail, place)), None
    )
    if again is not None:
        words = [token._replace(text=_AND_AT_END.sub("", token.text)) for token in tail[:again]]
        first = Quantity(node, read_unit(words, degree=degree))
        return _sum(first, quantity(tail[again:]))
    return Quantity(node, read_unit(tail, degree=degree) if tail or degree else NONE)


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
