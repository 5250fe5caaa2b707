"""Options checked against their annotations: a wrong type is one clear error, and a saved state is
JSON."""

from __future__ import annotations

import types
import typing
from dataclasses import fields
from typing import Any

import numpy as np

from gdro.core.errors import OptionError, StateError
from gdro.core.state import State
from gdro.io import flat


def check_types(part: Any) -> None:
    """Turn the options of a dataclass into plain bool, int, float, str, list and tuple, in place.

    Raises:
        OptionError: names the option that is of another type, or not finite.
    """
    hints = typing.get_type_hints(type(part))
    for entry in fields(part):
        value = getattr(part, entry.name)
        setattr(part, entry.name, plain(entry.name, value, hints[entry.name]))


def plain(name: str, value: Any, hint: Any) -> Any:
    """A value as the annotation has it; raises OptionError naming it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        choices = typing.get_args(hint)
        if value is None and type(None) in choices:
            return None
        wanted = [choice for choice in choices if choice is not type(None)]
        lists = [choice for choice in wanted if typing.get_origin(choice) is list]
        return plain(name, value, lists[0] if lists and _is_list(value) else wanted[0])
    if hint is bool:
        return _expect(name, value, isinstance(value, bool), "true or false")
    if hint is str:
        return _expect(name, value, isinstance(value, str), "a name")
    if typing.get_origin(hint) is typing.Literal:
        names = typing.get_args(hint)
        known = isinstance(value, str) and value in names
        return _expect(name, value, known, f"one of {', '.join(names)}")
    if hint is int:
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return int(_expect(name, value, whole, "a whole number"))
    if hint is float:
        return _number(name, value)
    listed = _expect(name, value, _is_list(value), "a list of numbers")
    numbers = [_number(name, entry) for entry in listed]
    return tuple(numbers) if typing.get_origin(hint) is tuple else numbers


def _number(name: str, value: Any) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, bool
    )
    return float(_expect(name, value, number and bool(np.isfinite(value)), "a finite number"))


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _expect(name: str, value: Any, right: bool, expected: str) -> Any:
    if not right:
        raise OptionError(f"{name}={value!r} must be {expected}")
    return value


def check_same(saved: State, options: State) -> None:
    """Raises StateError where saved options, nested, are not these; names the option."""
    saved, options = flat(saved), flat(options)
    for option in sorted(options.keys() | saved.keys()):
        if option not in saved or option not in options or saved[option] != options[option]:
            raise StateError(
                f"the state was saved with {option}={saved.get(option)!r}, "
                f"this controller has {options.get(option)!r}"
            )
