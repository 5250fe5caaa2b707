"""Robust methods by name, for recipes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from gdro.robust.base import RobustMethod
from gdro.robust.batch import RobustError
from gdro.robust.cvar import CVaR, GroupConditionalDRO
from gdro.robust.group_methods import Balanced, DoReMi, GroupDRO
from gdro.robust.q_diversity import QDiversity
from gdro.robust.variance_dro import VarianceDRO

ERM = "erm"
_CLASSES: dict[str, Callable[..., RobustMethod]] = {
    method.name: method
    for method in (Balanced, GroupDRO, DoReMi, CVaR, GroupConditionalDRO, QDiversity, VarianceDRO)
}


def method_names() -> list[str]:
    """Names that `make_method` knows; `erm` is plain training, with the metrics by group of all
    others."""
    return [ERM, *sorted(_CLASSES)]


def make_method(name: str, groups: Sequence[str], **options: Any) -> RobustMethod:
    """A method by name.

    Args:
        name: one of `method_names()`.
        groups: names of the groups.
        options: of the method's class.

    Raises:
        RobustError: the name or an option is unknown, or an option is out of range.
    """
    if name == ERM:
        if options:
            raise RobustError(f"erm takes no options, got {sorted(options)[0]!r}")
        return CVaR(1.0, groups=groups)
    if name not in _CLASSES:
        raise RobustError(f"method {name!r} is none of {', '.join(method_names())}")
    known = set(inspect.signature(_CLASSES[name]).parameters) - {"groups"}
    strange = sorted(set(options) - known)
    if strange:
        raise RobustError(
            f"{name} has no option {strange[0]!r}; it has {', '.join(sorted(known)) or 'none'}"
        )
    return _CLASSES[name](groups=groups, **options)
