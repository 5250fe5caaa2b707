r"""Does an answer's form say the gold's? Not symmetric: the gold is trusted, the answer must not
say more or less."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from gdro.verify.answers import reals
from gdro.verify.answers.evaluate import Evaluator
from gdro.verify.answers.forms import (
    Based,
    Choice,
    Form,
    Group,
    Modulo,
    Named,
    Opaque,
    Quantity,
    Ratio,
    Relation,
    SetBuilder,
    SetOperation,
    Table,
    Words,
)
from gdro.verify.answers.lexicon import COPULAS, DANGEROUS
from gdro.verify.answers.nodes import Node, Unreadable
from gdro.verify.answers.quantity import as_quantity, mixed, same_node, same_quantity
from gdro.verify.answers.relations import name_of, same_relations, stated, states_of
from gdro.verify.answers.units import factors

_CLOCK = re.compile(r"\d{1,2}:[0-5]\d(?::00)?")
_CHOICES = re.compile(r"(?=[a-h]{2,8}$)a?b?c?d?e?f?g?h?")
"""Letters of several choices in one word, `ABD`."""
_VERDICTS = frozenset({"yes", "no", "true", "false"})
_HALF_OPEN = frozenset({("(", "]"), ("[", ")")})
_POINT = frozenset({"(", "[", "\\langle"})


def same(gold: Form, answer: Form) -> bool:
    """Whether the answer says the gold.

    Raises:
        Unreadable: one of them is not read here, and their texts differ.
    """
    if gold == answer:
        return True
    if isinstance(gold, Opaque) or isinstance(answer, Opaque):
        raise Unreadable((gold if isinstance(gold, Opaque) else answer).reason)  # type: ignore[union-attr]
    if isinstance(gold, Named) and isinstance(answer, Group) and Named("empty") in answer.parts:
        return False  # `{\emptyset}` is not empty
    if isinstance(gold, Choice) or isinstance(answer, Choice):
        return _same_choice(gold, answer)
    if isinstance(gold, Modulo) or isinstance(answer, Modulo):
        return _same_modulo(gold, answer)
    if reals.is_set(gold) or reals.is_set(answer):
        found = _same_reals(gold, answer)
        if found is not None:
            return found
    if isinstance(answer, Relation):
        return (
            same_relations(gold, answer, same)
            if isinstance(gold, Relation)
            else stated(answer, gold, same)
        )
    if isinstance(gold, Relation):
        return any(same(value, answer) for value in states_of(gold))
    if isinstance(gold, Group | Table) or isinstance(answer, Group | Table):
        gold, answer = _unfolded(gold, answer), _unfolded(_summed(answer, gold), gold)
        if isinstance(gold, Group | Table) or isinstance(answer, Group | Table):
            return _same_groups(gold, answer)
    return _same_single(gold, answer)


def _summed(answer: Form, gold: Form) -> Form:
    """`1 and 1/2` beside a value as the mixed number."""
    if isinstance(gold, Quantity) and isinstance(answer, Group) and answer.joint == "and":
        return mixed(answer.parts) or answer
    return answer


def _unfolded(form: Form, other: Form) -> Form:
    """`P(3,4)` beside a point as the point, `[[1,2],[3,4]]` beside a matrix as the matrix, `ABD`
    beside a list as the choices."""
    if isinstance(form, Words) and isinstance(other, Group) and _CHOICES.fullmatch(form.text):
        return Group(tuple(map(Words, form.text)))
    if isinstance(form, Quantity) and isinstance(other, Group) and other.opening == "(":
        node = form.node
        point = node.op == "call" and len(node.name) == 1 and node.name.isupper()
        if point or node.op == "binomial":  # `C(4,3)`, and a column
            return Group(tuple(map(Quantity, node.parts)), "(", ")")
    if isinstance(form, Group) and isinstance(other, Table) and form.opening == "[":
        rows = [row.parts for row in form.parts if isinstance(row, Group) and row.opening == "["]
        if len(rows) == len(form.parts):
            return Table(tuple(rows))
    return form


def _same_single(gold: Form, answer: Form) -> bool:
    if isinstance(gold, Based) or isinstance(answer, Based):
        return _same_based(gold, answer)
    if isinstance(gold, Ratio) or isinstance(answer, Ratio):
        return _same_ratio(gold, answer)
    if isinstance(gold, SetOperation) and isinstance(answer, SetOperation):
        return gold.op == answer.op and all(map(same, gold.parts, answer.parts))
    if isinstance(gold, SetBuilder) and isinstance(answer, SetBuilder):
        return gold.name == answer.name and same(gold.condition, answer.condition)
    if isinstance(gold, Words) and isinstance(answer, Words):
        return gold.text in _VERDICTS and _says_only(gold.text, answer.text)
    one, other = as_quantity(gold), as_quantity(answer)
    return one is not None and other is not None and same_quantity(one, other)


def _says_only(verdict: str, text: str) -> bool:
    """`yes, it is` says yes; `yes, but no` does not."""
    first, *rest = re.findall(r"[^\W\d_]+|[,;:.\u2013\u2014-]", text) or [""]
    pause = bool(rest) and not rest[0].isalpha()
    return first == verdict and pause and not (_VERDICTS | DANGEROUS - COPULAS) & set(rest)


def _same_choice(gold: Form, answer: Form) -> bool:
    """A letter, a choice's text, or both: the letter decides where both have one."""
    if isinstance(gold, Choice) and isinstance(answer, Choice):
        return gold.letter == answer.letter
    if isinstance(gold, Choice):
        return answer == Words(gold.letter.casefold()) or _readably(gold.value, answer)
    assert isinstance(answer, Choice)
    if isinstance(gold, Words) and len(gold.text) == 1:
        return gold.text == answer.letter.casefold()
    return same(gold, answer.value)


def _readably(gold: Form, answer: Form) -> bool:
    try:
        return same(gold, answer)
    except Unreadable:
        return False


def _same_modulo(gold: Form, answer: Form) -> bool:
    if not isinstance(answer, Modulo):
        assert isinstance(gold, Modulo)
        return any(same(value, answer) for value in _residues(gold))
    values = _residues(answer)
    if not isinstance(gold, Modulo):
        return len(values) == 1 and _is_residue(values[0], answer.modulus) and same(gold, values[0])
    if not same(gold.modulus, answer.modulus):
        return False
    wanted = _residues(gold)
    return len(wanted) == len(values) and all(
        _congruent(*pair, gold.modulus) for pair in zip(wanted, values, strict=True)
    )


def _residues(form: Modulo) -> list[Form]:
    """The values: those behind the name of `x = 3, 5 (mod 7)`; none if a congruence of numbers is
    false; of a remainder what it is."""
    number, divisor = (_whole(form.value), _whole(form.modulus)) if form.remainder else (None, None)
    if number is not None and divisor:
        return [Quantity(Node("number", value=Fraction(number % divisor)))]
    parts = (
        form.value.parts
        if isinstance(form.value, Group) and not form.value.opening
        else (form.value,)
    )
    values = list[Form]()
    for part in parts:
        if isinstance(part, Relation) and part.signs in (("equiv",), ("=",)):
            left, right = part.sides
            if (
                as_quantity(left) is not None
                and not isinstance(left, Words)
                and not _congruent(left, right, form.modulus)
            ):
                return []
            part = right
        values.append(part)
    return values


def _is_residue(value: Form, modulus: Form) -> bool:
    """Whether a value is less than its modulus: `5 mod 3` does not say 5."""
    number, divisor = _whole(value), _whole(modulus)
    return number is None or divisor is None or abs(number) < abs(divisor)


def _congruent(left: Form, right: Form, modulus: Form) -> bool:
    numbers = [_whole(form) for form in (left, right, modulus)]
    if None in numbers:
        return same(left, right)
    one, other, divisor = (number or 0 for number in numbers)
    return divisor != 0 and (one - other) % divisor == 0


def _whole(form: Form) -> int | None:
    if not isinstance(form, Quantity) or form.node.names:
        return None
    value = Evaluator()(form.node)
    return int(value) if isinstance(value, Fraction) and value.denominator == 1 else None


def _same_reals(gold: Form, answer: Form) -> bool | None:
    """As sets of real numbers; None if one of them is none, or both are relations on different
    names."""
    if (
        isinstance(gold, Relation)
        and isinstance(answer, Relation)
        and reals.subjects(gold) != reals.subjects(answer)
    ):
        return None
    found = reals.reals(answer, strictly=True)
    wanted = [reals.reals(gold, strictly=strictly) for strictly in (False, True)]
    if found is None or wanted[0] is None:
        return None
    return any(one is not None and reals.same(one, found) for one in wanted)


def _same_groups(gold: Form, answer: Form) -> bool:
    """Lists and sets in any order, tuples in theirs; one value is a list of one."""
    wanted, found = _parts(gold), _parts(answer)
    if any(
        isinstance(form, Table) and min(len(form.rows), len(form.rows[0])) > 1
        for form in (gold, answer)
    ) and not (isinstance(gold, Table) and isinstance(answer, Table)):
        return False
    if isinstance(gold, Table) and isinstance(answer, Table):
        rows = [len(row) for row in gold.rows], [len(row) for row in answer.rows]
        return rows[0] == rows[1] and _in_order(wanted, found)
    if len(wanted) != len(found) and not (_is_set(gold) and _is_set(answer)):
        return False
    if isinstance(gold, Group) and isinstance(answer, Group) and not _same_brackets(gold, answer):
        return False
    if _is_ordered(gold):
        return _in_order(wanted, found) or _in_order(wanted, _by_name(found))
    if _has_names(wanted) and not _has_names(found):
        return _in_order(wanted, found)
    return _match(wanted, found)


def _parts(form: Form) -> Sequence[Form]:
    if isinstance(form, Group):
        return form.parts
    if isinstance(form, Table):
        return [cell for row in form.rows for cell in row]
    return [form]


def _is_set(form: Form) -> bool:
    return not isinstance(form, Group) or form.opening in ("", "\\{")


def _is_ordered(form: Form) -> bool:
    return isinstance(form, Table) or (isinstance(form, Group) and form.opening in _POINT)


def _same_brackets(gold: Group, answer: Group) -> bool:
    """Brackets tell intervals apart where there are two parts; around more they are only a
    habit."""
    pairs = (gold.opening, gold.closing), (answer.opening, answer.closing)
    if any(pair in _HALF_OPEN for pair in pairs) and gold.closing != answer.closing:
        return False
    if len(gold.parts) == 2 and any(
        one.opening == "(" and _is_of_one_thing(other)
        for one, other in ((gold, answer), (answer, gold))
    ):
        return False
    both = gold.opening in ("(", "[") and answer.opening in ("(", "[")
    if both and len(gold.parts) == 2:
        return (gold.opening, gold.closing) == (answer.opening, answer.closing)
    # an interval is no list and no set
    if "[" in (gold.opening, answer.opening) and len(gold.parts) == 2:
        return False
    return (
        gold.joint == answer.joint
        or "or" not in (gold.joint, answer.joint)
        or not (gold.opening and answer.opening)
    )


def _is_of_one_thing(form: Group) -> bool:
    """Whether a list or set gives values of one thing, `x = 1 or x = 5`, and so is no point and no
    interval."""
    relations = [part for part in form.parts if isinstance(part, Relation)]
    names = {re.sub(r"_.*", "", name_of(part.texts[0])) for part in relations}
    again = len(relations) == len(form.parts) > len(names)
    return form.opening == "\\{" or form.joint == "or" or again


def _in_order(wanted: Sequence[Form], found: Sequence[Form]) -> bool:
    return len(wanted) == len(found) and all(map(same, wanted, found))


def _match(wanted: Sequence[Form], found: Sequence[Form]) -> bool:
    """As sets: everything wanted is found and nothing else."""
    missing = list(wanted)
    for one in found:
        hits = [place for place, other in enumerate(wanted) if same(other, one)]
        if not hits:
            return False
        missing = [other for other in missing if not any(other is wanted[place] for place in hits)]
    return not missing


def _has_names(parts: Sequence[Form]) -> bool:
    """Whether every part is `name = value` with a name of its own."""
    names = [part.texts[0] for part in parts if isinstance(part, Relation) and part.signs[0] == "="]
    return len(names) == len(parts) == len(set(names))


def _by_name(parts: Sequence[Form]) -> Sequence[Form]:
    """`y = 2, x = 1` in the order of the names."""
    if not _has_names(parts):
        return []
    return sorted(parts, key=lambda part: part.texts[0] if isinstance(part, Relation) else "")


def _same_based(gold: Form, answer: Form) -> bool:
    """In one base, or by value where one of the two is decimal; by digits where one says none."""
    if isinstance(gold, Based) and isinstance(answer, Based):
        asked = gold.base == answer.base or 10 in (gold.base, answer.base)
        return asked and int(gold.digits, gold.base) == int(answer.digits, answer.base)
    if isinstance(answer, Based):
        value = Quantity(Node("number", value=Fraction(int(answer.digits, answer.base))))
        digits = _digits(gold)
        return digits == answer.digits or (
            isinstance(gold, Quantity) and same_quantity(gold, value)
        )
    assert isinstance(gold, Based)
    return _digits(answer) == gold.digits


def _digits(form: Form) -> str:
    """The digits of a whole number that says no base, or of a hexadecimal word."""
    if isinstance(form, Words):
        return form.text
    return _leaves(form.node) if isinstance(form, Quantity) else ""


def _leaves(node: Node) -> str:
    """The factors of a product as they were written: `2A` is 2 times A, `5C1` a binomial."""
    if node.op in ("multiply", "binomial"):
        return ("c" if node.op == "binomial" else "").join(map(_leaves, node.parts))
    whole = node.op == "number" and node.value.denominator == 1
    return str(node.value) if whole else node.name.casefold()


def _same_ratio(gold: Form, answer: Form) -> bool:
    """In proportion; times of the day only if they are the same."""
    if isinstance(gold, Ratio) and isinstance(answer, Ratio):
        clocks = [
            _CLOCK.fullmatch(":".join(one.texts)) is not None or one.unit.qualifiers
            for one in (gold, answer)
        ]
        halves = bool(factors(gold.unit, answer.unit))
        if all(clocks):
            if halves and _in_order(gold.parts, answer.parts):
                return True
            return _minutes(gold) == _minutes(answer) is not None
        return (
            len(gold.parts) == len(answer.parts)
            and halves
            and all(
                same_node(_product(one, answer.parts[0]), _product(other, gold.parts[0]))
                for one, other in zip(gold.parts, answer.parts, strict=True)
            )
        )
    ratio, other = (gold, answer) if isinstance(gold, Ratio) else (answer, gold)
    assert isinstance(ratio, Ratio)
    value = as_quantity(other)
    if value is not None and (half := dict(value.unit.qualifiers).get("half of the day")):
        hour = _hour(value, half)  # `9 a.m.` and `9:00`
        return hour is not None and _minutes(ratio) == 60 * hour
    if value is None or len(ratio.parts) != 2 or ratio.unit.qualifiers or ratio.unit.known:
        return False
    return same_node(
        _product(ratio.parts[0]), Node("multiply", (value.node, _product(ratio.parts[1])))
    )


def _minutes(clock: Ratio) -> int | None:
    """Minutes of the day, `5:30 PM` as 17:30; None for what is no hour and minutes."""
    parts = [_whole(part) for part in clock.parts]
    if parts[2:] not in ([], [0]) or parts[0] is None or parts[1] is None:
        return None
    half = dict(clock.unit.qualifiers).get("half of the day")
    hour = parts[0] if half is None else parts[0] % 12 + 12 * (half == "pm")
    return 60 * hour + parts[1]


def _hour(value: Quantity, half: str) -> int | None:
    hour = _whole(Quantity(value.node))
    return None if hour is None or not 0 < hour <= 12 else hour % 12 + 12 * (half == "pm")


def _product(*forms: Form) -> Node:
    nodes = []
    for form in forms:
        one = as_quantity(form)
        if one is None:
            raise Unreadable("a ratio of what is no number")
        nodes.append(one.node)
    return nodes[0] if len(nodes) == 1 else Node("multiply", tuple(nodes))


__all__ = ["Named", "same"]
