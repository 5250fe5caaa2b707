"""Constructor options checked against their annotations: a wrong type is one clear error, and a saved state is JSON."""

from __future__ import annotations

import typing
from dataclasses import fields
from typing import Any

import numpy as np

from gdro.core.errors import OptionError


def check_types(controller: Any) -> None:
    """Turn the options of a dataclass into plain bool, int, float, str, list and tuple, in place.

    Raises:
        OptionError: names the option that is of another type, or not finite.
    """
    hints = typing.get_type_hints(type(controller))
    for field in fields(controller):
        value, hint = getattr(controller, field.name), hints[field.name]
        choices = typing.get_args(hint)
        if type(None) in choices:
            if value is None:
                continue
            hint = next(choice for choice in choices if choice is not type(None))
        setattr(controller, field.name, _plain(field.name, value, hint))


def _plain(name: str, value: Any, hint: Any) -> Any:
    if hint is bool:
        return _expect(name, value, isinstance(value, bool), "true or false")
    if hint is str or typing.get_origin(hint) is typing.Literal:
        return _expect(name, value, isinstance(value, str), "a name")
    if hint is int:
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return int(_expect(name, value, whole, "a whole number"))
    if hint is float:
        return _number(name, value)
    numbers = [_number(name, entry) for entry in _expect(name, value, _is_list(value), "a list of numbers")]
    return tuple(numbers) if typing.get_origin(hint) is tuple else numbers


def _number(name: str, value: Any) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return float(_expect(name, value, number and bool(np.isfinite(value)), "a finite number"))


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _expect(name: str, value: Any, right: bool, expected: str) -> Any:
    if not right:
        raise OptionError(f"{name}={value!r} must be {expected}")
    return value
