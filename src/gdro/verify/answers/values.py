"""Are two quantities one? Values by `evaluate`, units by `units.factors`."""

from __future__ import annotations

from gdro.verify.answers.evaluate import equal
from gdro.verify.answers.forms import Form, Quantity, Words
from gdro.verify.answers.nodes import KNOWN, Node, Unreadable
from gdro.verify.answers.units import factors


def as_quantity(form: Form) -> Quantity | None:
    """A quantity, or a single letter as the variable or constant that it is."""
    if isinstance(form, Quantity):
        return form
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

    A unit that only one of them has is no difference; two known units that measure different things
    are. A letter that is read as a unit may be a factor of the gold (`5m`).
    """
    for factor in factors(gold.unit, answer.unit):
        node = answer.node if factor is None else Node("multiply", (answer.node, factor))
        if same_node(gold.node, node):
            return True
    if answer.unit.letter and not gold.unit.known and answer.unit.letter in gold.node.names:
        return same_node(
            gold.node, Node("multiply", (answer.node, Node("name", name=answer.unit.letter)))
        )
    return False


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
