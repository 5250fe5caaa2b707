"""Sets of real numbers in one normal form, so that `0 < x < 5`, `(0, 5)` and `{x : 0 < x < 5}` are
one set."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import mpmath

from gdro.verify.answers.evaluate import Evaluator
from gdro.verify.answers.forms import (
    Form,
    Group,
    Named,
    Quantity,
    Relation,
    SetBuilder,
    SetOperation,
    Words,
)
from gdro.verify.answers.nodes import Unreadable
from gdro.verify.answers.units import NONE

_DIGITS = 60
_LINEAR = frozenset({"add", "multiply", "negative", "number", "name"})
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


class Piece(NamedTuple):
    """An interval; a point has equal ends, both closed."""

    low: Any
    low_closed: bool
    high: Any
    high_closed: bool


class Distance(NamedTuple):
    """`scale * |name - centre|`."""

    name: str
    centre: Fraction
    scale: Fraction


Reals = list[Piece]
_INFINITY = mpmath.inf
ALL: Reals = [Piece(-_INFINITY, False, _INFINITY, False)]


def reals(form: Form, *, strictly: bool = False) -> Reals | None:
    """The set of real numbers that a form is, in normal form; None if it is none that is read
    here. Relations that exclude each other are either or, but `strictly` not behind an "and": data
    sets write `x<2 and x>3`."""
    try:
        with mpmath.workdps(_DIGITS):
            found = _reals(form)
            both = isinstance(form, Group) and form.joint == "and" and _relates(form)
            if strictly and both and found is not None:
                found = _common(form)  # type: ignore[arg-type]
    except Unreadable:
        return None
    return None if found is None else _normal(found)


def same(left: Reals, right: Reals) -> bool:
    """Whether two sets in normal form are one."""
    return len(left) == len(right) and all(
        one.low_closed == other.low_closed
        and one.high_closed == other.high_closed
        and _near(one.low, other.low)
        and _near(one.high, other.high)
        for one, other in zip(left, right, strict=True)
    )


def is_set(form: Form) -> bool:
    """Whether a form is plainly a set of reals and no list, point or equation: it has to be
    compared as a set."""
    if isinstance(form, Relation):
        return any(sign in ("<", ">", "<=", ">=", "!=") for sign in form.signs) or (
            form.signs == ("in",) and is_set(form.sides[1])
        )
    if isinstance(form, Group):
        mixed = len(form.parts) == 2 and (form.opening, form.closing) in (("(", "]"), ("[", ")"))
        infinite = not form.opening or len(form.parts) == 2
        return mixed or (infinite and any(is_set(part) or _infinite(part) for part in form.parts))
    return isinstance(form, SetOperation | SetBuilder) or (
        isinstance(form, Named) and form.name == "reals"
    )


def _infinite(form: Form) -> bool:
    return isinstance(form, Quantity) and any(node.name == "infinity" for node in form.node.walk())


def _reals(form: Form) -> Reals | None:
    if isinstance(form, Named):
        return {"reals": ALL, "empty": []}.get(form.name)
    if isinstance(form, SetOperation):
        left, right = (_reals(part) for part in form.parts)
        if left is None or right is None:
            return None
        if form.op == "cup":
            return left + right
        return _intersection(left, _complement(right) if form.op == "minus" else right)
    if isinstance(form, SetBuilder):
        return _reals(form.condition) if form.name in _names(form.condition) else None
    if isinstance(form, Relation):
        return _of_relation(form)
    if isinstance(form, Group):
        return _of_group(form)
    return None


def _of_group(group: Group) -> Reals | None:
    if group.opening == "\\{":
        points = [_number(part) for part in group.parts]
        return [Piece(point, True, point, True) for point in points]
    if group.opening in ("(", "[") and group.closing in (")", "]") and len(group.parts) == 2:
        low, high = (_number(part) for part in group.parts)
        return (
            [Piece(low, group.opening == "[", high, group.closing == "]")] if low <= high else None
        )
    if group.opening:
        return None
    parts = [_reals(part) for part in group.parts]
    if (
        any(part is None for part in parts)
        or len(set().union(*(_names(part) for part in group.parts))) > 1
    ):
        return None
    common = _common(group) if group.joint != "or" and _relates(group) else []
    return common or [piece for part in parts for piece in part or []]


def _relates(group: Group) -> bool:
    """Whether its parts are relations on a name, which hold together; intervals are listed."""
    return not group.opening and all(isinstance(part, Relation) for part in group.parts)


def _common(group: Group) -> Reals:
    common = ALL
    for part in group.parts:
        common = _intersection(common, _reals(part) or [])
    return common


def _of_relation(relation: Relation) -> Reals | None:
    """`x > 3`, `1 < x <= 5`, `x != 2`, `x in S`."""
    if relation.signs == ("in",) and isinstance(relation.sides[0], Words):
        return _reals(relation.sides[1])
    places = [
        place
        for place, side in enumerate(relation.sides)
        if (isinstance(side, Words) and len(side.text) == 1) or _distance(side) is not None
    ]
    if len(places) != 1 or any(sign not in _TURNED for sign in relation.signs):
        return None
    (place,) = places
    found = ALL
    for at, sign in enumerate(relation.signs):
        left, right = relation.sides[at], relation.sides[at + 1]
        if at + 1 == place:
            found = _intersection(found, _half(_TURNED[sign], _number(left)))
        elif at == place:
            found = _intersection(found, _half(sign, _number(right)))
        else:
            return None
    distance = _distance(relation.sides[place])
    return found if distance is None else _at(distance, found)


def _distance(form: Form) -> Distance | None:
    """`|x - 1|` as a distance on the line, with whole numbers or fractions; None for another
    form. `|z|` is as likely one in the plane."""
    if not isinstance(form, Quantity) or form.node.op != "absolute" or form.unit != NONE:
        return None
    nodes = list(form.node.parts[0].walk())
    names = [node.name for node in nodes if node.op == "name"]
    if len(names) != 1 or names == ["z"] or any(node.op not in _LINEAR for node in nodes):
        return None
    (name,), inner = names, form.node.parts[0]
    start, end = (Evaluator({name: Fraction(x)})(inner) for x in (0, 1))
    if not (isinstance(start, Fraction) and isinstance(end, Fraction)) or start == end:
        return None
    return Distance(name, start / (start - end), abs(end - start))


def _at(distance: Distance, pieces: Reals) -> Reals:
    """The numbers whose distance lies in these pieces."""
    found: Reals = []
    centre, scale = (
        mpmath.mpf(value.numerator) / value.denominator
        for value in (distance.centre, distance.scale)
    )
    for low, low_closed, high, high_closed in _intersection(
        pieces, [Piece(mpmath.mpf(0), True, _INFINITY, False)]
    ):
        found.append(Piece(centre + low / scale, low_closed, centre + high / scale, high_closed))
        found.append(Piece(centre - high / scale, high_closed, centre - low / scale, low_closed))
    return found


def _half(sign: str, bound: Any) -> Reals:
    """`{x : x sign bound}`."""
    point = [Piece(bound, True, bound, True)]
    if sign in ("=", "!="):
        return point if sign == "=" else _complement(point)
    closed = sign.endswith("=")
    if sign[0] == "<":
        return [Piece(-_INFINITY, False, bound, closed)]
    return [Piece(bound, closed, _INFINITY, False)]


def subjects(relation: Relation) -> set[str]:
    """Names that a relation is about: `x` of `x > 3` and of `|x| > 3`."""
    found = {side.text for side in relation.sides if isinstance(side, Words)}
    distances = map(_distance, relation.sides)
    return found | {distance.name for distance in distances if distance is not None}


def _names(form: Form) -> set[str]:
    """Names that the relations in a form are about."""
    if isinstance(form, Relation):
        return subjects(form)
    return (
        set[str]().union(*(_names(part) for part in form.parts))
        if isinstance(form, Group)
        else set()
    )


def _number(form: Form) -> Any:
    if not isinstance(form, Quantity) or form.node.names:
        raise Unreadable("an end that is no number")
    value = Evaluator()(form.node)
    if isinstance(value, mpmath.mpc):
        raise Unreadable("an end that is not real")
    return (
        value if isinstance(value, mpmath.mpf) else mpmath.mpf(value.numerator) / value.denominator
    )


def _near(one: Any, other: Any) -> bool:
    if mpmath.isinf(one) or mpmath.isinf(other):
        return bool(one == other)
    return bool(abs(one - other) <= mpmath.mpf(10) ** -30 * max(abs(one), abs(other), 1))


def _normal(pieces: Reals) -> Reals:
    """Sorted, touching pieces joined."""
    joined: Reals = []
    for piece in sorted(pieces, key=lambda one: (one.low, not one.low_closed)):
        if piece.low == piece.high and not (piece.low_closed and piece.high_closed):
            continue
        if joined and _touches(joined[-1], piece):
            last = joined[-1]
            if (last.high, last.high_closed) < (piece.high, piece.high_closed):
                joined[-1] = last._replace(high=piece.high, high_closed=piece.high_closed)
        else:
            joined.append(piece)
    return joined


def _touches(left: Piece, right: Piece) -> bool:
    if _near(left.high, right.low):
        return left.high_closed or right.low_closed
    return bool(right.low < left.high)


def _complement(pieces: Reals) -> Reals:
    found: Reals = []
    low, low_closed = -_INFINITY, False
    for piece in _normal(pieces):
        if low < piece.low or (low == piece.low and low_closed and not piece.low_closed):
            found.append(Piece(low, low_closed, piece.low, not piece.low_closed))
        low, low_closed = piece.high, not piece.high_closed
    if low < _INFINITY:
        found.append(Piece(low, low_closed, _INFINITY, False))
    return found


def _intersection(left: Sequence[Piece], right: Sequence[Piece]) -> Reals:
    found: Reals = []
    for one in left:
        for other in right:
            low, low_open = max((one.low, not one.low_closed), (other.low, not other.low_closed))
            high, high_closed = min((one.high, one.high_closed), (other.high, other.high_closed))
            if low < high or (low == high and not low_open and high_closed):
                found.append(Piece(low, not low_open, high, high_closed))
    return found
