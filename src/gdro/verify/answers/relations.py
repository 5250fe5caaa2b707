r"""What a relation states: which value an equation gives, whether two relations are one, and which
are conditions on names of an answer (`k \in \mathbb{Z}` behind `2k\pi`).

Of the sides of `a = b = c` every number must be the value, and the last one in any case. What
stands on the left may be a name (`x`, `f(2)`, `\text{Area}`, `m+n`) or a number that is the value
(`2+1=3`). It may not be an equation still to be solved: `2x = 6` does not say 6, it says that x is
3.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

import mpmath

from gdro.verify.answers.evaluate import Evaluator
from gdro.verify.answers.forms import Form, Group, Modulo, Named, Opaque, Quantity, Relation, Words
from gdro.verify.answers.nodes import Node, Unreadable
from gdro.verify.answers.quantity import as_quantity, is_number, renamed, same_node
from gdro.verify.answers.units import NONE

Same = Callable[[Form, Form], bool]
_ARITHMETIC = frozenset(
    {"add", "multiply", "divide", "negative", "number", "name", "power", "root", "constant"}
)
_APPLIED = re.compile(r"(?:[A-Za-z]|\\[a-zA-Z]+(?:\{\w+\})?)(?:[_^]\{?[-\w]+\}?)*'*\(")
_OF_X = re.compile(r"[fgh]\([a-z]\)")
_FUNCTION = re.compile(r"([a-zA-Z])\(([a-z])\)")
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_NAME_DRESS = re.compile(r"\\(?:overline|vec|overrightarrow|bar|hat|mathbb|mathcal)|[{}]")


def states_of(gold: Relation) -> list[Form]:
    """The values that a gold relation gives: those behind a plain name, all sides of a numeric
    equation; else none."""
    if gold.signs == ("in",):
        return [gold.sides[1]] if isinstance(gold.sides[0], Words | Group) else []
    if any(sign not in ("=", "~") for sign in gold.signs):
        return []
    if is_number(gold.sides[0]) or isinstance(gold.sides[0], Modulo):
        return list(gold.sides)
    return list(gold.sides[1:]) if _is_plain_name(gold.sides[0], gold.texts[0]) else []


def stated(answer: Relation, gold: Form, same: Same) -> bool:
    """Whether an equation, an approximation or `x in ...` says that the value is the gold."""
    if answer.signs == ("in",):
        return (
            not is_number(answer.sides[0])
            and not is_number(answer.sides[1])
            and same(gold, answer.sides[1])
        )
    if any(sign not in ("=", "~") for sign in answer.signs):
        return False
    if _is_turned(answer):
        return same(gold, answer.sides[0])
    if not is_number(answer.sides[0]) and all(_is(gold, side, same) for side in answer.sides):
        return True  # `(x+1)^2 = x^2+2x+1`
    first, others = answer.sides[0], list(zip(answer.signs, answer.sides[1:], strict=True))
    if isinstance(first, Modulo) and is_number(first.value):
        return False
    if is_number(first):
        return _numbers_agree(first, others, gold, same)
    if _is_to_be_solved(first, answer.texts[0]) or _is_in(answer.texts[0], others):
        return False
    (_, second), *rest = others
    described = [side for _, side in others[:-1] if not is_number(side)]
    if isinstance(gold, Quantity) and is_number(gold) and described:
        rest = [(sign, side) for sign, side in others if is_number(side)]
        if not rest or not is_number(others[-1][1]):
            return False
        (_, second), *rest = rest
    return _numbers_agree(second, rest, gold, same)


def _is(gold: Form, side: Form, same: Same) -> bool:
    try:
        return same(gold, side)
    except Unreadable:
        return False


def _is_in(name: str, others: list[tuple[str, Form]]) -> bool:
    """Whether the name on the left is in a value given for it, `x = x^2 + 1`: an equation."""
    return any(isinstance(side, Quantity) and name in side.node.names for _, side in others)


def _is_turned(answer: Relation) -> bool:
    """Whether the value stands on the left, `3 = x`."""
    left, right = answer.sides[0], answer.sides[1]
    bare = isinstance(left, Quantity) and left.unit == NONE and is_number(left)
    return bare and answer.signs == ("=",) and isinstance(right, Words) and len(right.text) == 1


def _numbers_agree(first: Form, others: list[tuple[str, Form]], gold: Form, same: Same) -> bool:
    """Whether the first side is the gold and every other equals it or, behind `~`, is it
    rounded."""
    if same(gold, first):
        return all(
            _rounds(first, side) if sign == "~" else same(gold, side) for sign, side in others
        )
    if len(others) == 1 and others[0][0] == "~" and _has_decimals(gold):
        return same(gold, others[0][1]) and _rounds(first, others[0][1], strictly=True)
    return False


def _has_decimals(form: Form) -> bool:
    return isinstance(form, Quantity) and any(node.decimals for node in form.node.walk())


def _rounds(exact: Form, rounded: Form, *, strictly: bool = False) -> bool:
    """Whether the second is the first rounded to the digits written, or else within 5 %."""
    if not (isinstance(exact, Quantity) and isinstance(rounded, Quantity)):
        return False
    try:
        value, other = (mpmath.mpf(mpmath.re(_float(side.node))) for side in (exact, rounded))
    except Unreadable:
        return False
    if not (mpmath.isfinite(value) and mpmath.isfinite(other)):
        return False
    if rounded.unit.scale != exact.unit.scale and exact.unit.scale == 1:  # `\frac13 \approx 33.3\%`
        value /= _float(Node("number", value=rounded.unit.scale))
    decimals = max((node.decimals or 0 for node in rounded.node.walk()), default=0)
    unit = mpmath.mpf(10) ** -decimals
    return bool(abs(value - other) <= (unit / 2 if strictly else max(unit / 2, abs(value) / 20)))


def _float(node: Node) -> object:
    value = Evaluator()(node)
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _is_plain_name(form: Form, text: str) -> bool:
    r"""A name, a function's value, words, or letters without numbers (`m+n`)."""
    if isinstance(form, Words | Opaque):
        return True
    if isinstance(form, Group):
        return all(_is_plain_name(part, "") for part in form.parts)
    if not isinstance(form, Quantity):
        return False
    if form.node.op in ("name", "call", "absolute") or _APPLIED.match(text):
        return True
    return not any(node.op == "number" for node in form.node.walk())


def _is_to_be_solved(form: Form, text: str) -> bool:
    """Whether a left side is arithmetic with one unknown: an equation, whose solution is another
    number."""
    if not isinstance(form, Quantity) or form.node.op == "name" or len(form.node.names) != 1:
        return False
    return not _APPLIED.match(text) and all(node.op in _ARITHMETIC for node in form.node.walk())


def same_relations(gold: Relation, answer: Relation, same: Same) -> bool:
    """Whether two relations are one: side by side, turned round, or equivalent equations and
    inequalities."""
    signs = tuple("=" if sign == "~" else sign for sign in answer.signs)
    wanted = tuple("=" if sign == "~" else sign for sign in gold.signs)
    if set(wanted) == {"="} == set(signs):
        return _same_equations(gold, answer, same)
    if _side_by_side(gold, answer, wanted, signs, same):
        return True
    turned = Relation(
        answer.sides[::-1],
        tuple(_TURNED.get(sign, sign) for sign in signs[::-1]),
        answer.texts[::-1],
    )
    if _side_by_side(gold, turned, wanted, turned.signs, same):
        return True
    return len(wanted) == len(signs) == 1 and (
        (wanted == signs and _proportional(gold, answer))
        or (wanted == turned.signs and _proportional(gold, turned))
    )


def _side_by_side(
    gold: Relation, answer: Relation, wanted: object, signs: object, same: Same
) -> bool:
    return wanted == signs and all(
        name_of(one) == name_of(other) or same(left, right)
        for one, other, left, right in zip(
            gold.texts, answer.texts, gold.sides, answer.sides, strict=True
        )
    )


def _same_equations(gold: Relation, answer: Relation, same: Same) -> bool:
    if _is_plain_name(gold.sides[0], gold.texts[0]) and _one_name(gold.texts[0], answer.texts[0]):
        value = Relation((Words("x"), *answer.sides[1:]), answer.signs, ("", *answer.texts[1:]))
        if any(stated(value, side, same) for side in gold.sides[1:]):
            return True
    if len(gold.sides) == len(answer.sides) == 2 and _same_function(gold, answer):
        return True
    if (
        len(gold.sides) == 2
        and name_of(gold.texts[0]) == name_of(answer.texts[-1])
        and len(answer.sides) == 2
    ):
        return same(gold.sides[1], answer.sides[0])
    return len(gold.sides) == len(answer.sides) == 2 and _proportional(gold, answer)


def _same_function(gold: Relation, answer: Relation) -> bool:
    """`f(t) = t` and `f(x) = x`: the name of the argument is free."""
    left, other = _FUNCTION.fullmatch(gold.texts[0]), _FUNCTION.fullmatch(answer.texts[0])
    values = [as_quantity(gold.sides[1]), as_quantity(answer.sides[1])]
    if left is None or other is None or left[1] != other[1] or None in values:
        return False
    wanted, found = (value.node for value in values if value is not None)
    if left[2] == other[2] or left[2] in found.names or other[2] in wanted.names:
        return False
    return same_node(wanted, renamed(found, other[2], Node("name", name=left[2])))


def _one_name(gold: str, answer: str) -> bool:
    """Whether two left sides name one thing; `y` is `f(x)`."""
    names = {name_of(gold), name_of(answer)}
    return len(names) == 1 or ("y" in names and any(_OF_X.fullmatch(name) for name in names))


def name_of(text: str) -> str:
    """A left side as it is compared: without fonts, accents and braces."""
    return _NAME_DRESS.sub("", text).replace(" ", "").casefold()


def _proportional(gold: Relation, answer: Relation) -> bool:
    """Whether the differences of the sides are proportional with a constant, positive in
    inequalities: one relation."""
    quantities = [as_quantity(side) for relation in (gold, answer) for side in relation.sides[:2]]
    if any(one is None for one in quantities):
        return False
    nodes = [one.node for one in quantities if one is not None]
    left, right = (Node("add", (nodes[i], Node("negative", (nodes[i + 1],)))) for i in (0, 2))
    if left.names != right.names or not left.names:
        return False
    ratio = Node("divide", (left, right))
    constant = Node("number", value=_constant_ratio(ratio))
    if constant.value == 0 or (gold.signs[0] not in ("=", "~", "!=") and constant.value < 0):
        return False
    try:
        return same_node(left, Node("multiply", (constant, right)))
    except Unreadable:
        return False


def _constant_ratio(ratio: Node) -> Fraction:
    """The ratio's value at one rational point; 0 if it has none there."""
    point = {
        name: Fraction(3 + 2 * place, 7 + place) for place, name in enumerate(sorted(ratio.names))
    }
    try:
        value = Evaluator(point)(ratio)
    except Unreadable:
        return Fraction(0)
    if isinstance(value, Fraction):
        return value
    return (
        Fraction(int(mpmath.nint(value * 10**6)), 10**6)
        if not isinstance(value, mpmath.mpc)
        else Fraction(0)
    )


_ORDER = frozenset({"<", ">", "<=", ">=", "!="})
_SIGNS = _ORDER | {"in", "="}


def is_condition(form: Form) -> bool:
    """Whether a part of a list could be a condition on a name in another part: a relation about one
    name, or words."""
    if isinstance(form, Relation):
        return len(_subjects(form)) == 1 and form.signs[0] in _SIGNS and form.signs != ("=",)
    return isinstance(form, Words) and " " in form.text


def restricts(condition: Form, value: Form) -> bool:
    """Whether a part of a list is a condition on another: of two inequalities, `-1 < x, x < 3`,
    none is."""
    both = all(
        isinstance(form, Relation) and form.signs[0] in _ORDER for form in (condition, value)
    )
    return not both and holds_for(condition, value)


def holds_for(condition: Form, value: Form) -> bool:
    """Whether a condition is about names that the value has beside the name that it is given
    for."""
    names = _names(value)
    everywhere = isinstance(condition, Relation) and isinstance(condition.sides[-1], Named)
    if isinstance(condition, Words) or everywhere:  # `f(x) = 0 for all x`
        names |= _arguments(value)
    if isinstance(condition, Relation):
        subjects = _subjects(condition)
        return bool(subjects) and subjects <= names and _is_simple(condition)
    if isinstance(condition, Group):
        return all(holds_for(part, value) for part in condition.parts)
    if isinstance(condition, Named):  # `for all x`
        return bool(_names(value))
    if isinstance(condition, Words):
        return any(
            word in names for word in re.findall(r"(?<![^\W\d_])[a-z](?![^\W\d_])", condition.text)
        )
    return False


def _arguments(form: Form) -> set[str]:
    """Names in the brackets of `f(x)` on the left side."""
    is_function = isinstance(form, Relation) and _APPLIED.match(form.texts[0])
    return _names(form.sides[0]) if is_function and isinstance(form, Relation) else set()


def _is_simple(relation: Relation) -> bool:
    """One sign, or a chain of inequalities, between sides that are read."""
    one = len(relation.signs) == 1 and relation.signs[0] in _SIGNS
    chain = all(sign in ("<", "<=", ">", ">=") for sign in relation.signs)
    return (one or chain) and not any(isinstance(side, Opaque) for side in relation.sides)


def _subjects(relation: Relation) -> set[str]:
    """The names that a condition restricts: `k` of `k \\in Z` and of `1 \\le k \\le 5`, `a` and `b`
    of `a \\ne b`."""
    found = set[str]()
    for side in relation.sides[:2]:
        if isinstance(side, Words) and len(side.text) == 1:
            found.add(side.text)
    return found


def _names(form: Form) -> set[str]:
    """Variables of a value; of `x = 2k` those of the right side."""
    if isinstance(form, Quantity):
        return {name.casefold() for name in form.node.names}
    if isinstance(form, Words):
        return {form.text} if len(form.text) == 1 else set()
    if isinstance(form, Relation):
        values = set[str]().union(*(_names(side) for side in form.sides[1:]))
        return values if _APPLIED.match(form.texts[0]) else values - _names(form.sides[0])
    if isinstance(form, Group):
        return set[str]().union(*(_names(part) for part in form.parts))
    return set()
