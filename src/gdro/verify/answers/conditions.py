r"""Conditions on the names of an answer: `k \in \mathbb{Z}` behind `2k\pi`."""

from __future__ import annotations

import re

from gdro.verify.answers.forms import Form, Group, Opaque, Quantity, Relation, Words

_SIGNS = frozenset({"in", "<", ">", "<=", ">=", "!=", "="})


def is_condition(form: Form) -> bool:
    """Whether a part of a list could be a condition on a name in another part: a relation about one
    name, or words."""
    if isinstance(form, Relation):
        return len(_subjects(form)) == 1 and form.signs[0] in _SIGNS and form.signs != ("=",)
    return isinstance(form, Words) and " " in form.text


def holds_for(condition: Form, value: Form) -> bool:
    """Whether a condition is about names that the value has beside the name that it is given
    for."""
    names = _names(value)
    if isinstance(condition, Relation):
        subjects = _subjects(condition)
        return bool(subjects) and subjects <= names and _is_simple(condition)
    if isinstance(condition, Group):
        return all(holds_for(part, value) for part in condition.parts)
    if isinstance(condition, Words):
        return any(
            word in names for word in re.findall(r"(?<![^\W\d_])[a-z](?![^\W\d_])", condition.text)
        )
    return False


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
        return set[str]().union(*(_names(side) for side in form.sides[1:])) - _names(form.sides[0])
    if isinstance(form, Group):
        return set[str]().union(*(_names(part) for part in form.parts))
    return set()
