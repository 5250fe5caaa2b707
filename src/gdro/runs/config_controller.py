"""The `controller` section against the known controllers: its name, its options, and what the run adds."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from gdro.runs.config_base import SettingError
from gdro.runs.config_keys import nearest

RUN_KEYS = ("mean_rollouts", "min_rollouts", "max_rollouts", "correct_threshold", "seed")
"""Settings of the run that a controller's constructor may also take: they are set at the top level only."""

REGISTRY: Mapping[str, Mapping[str, inspect.Parameter]] = {}
"""Controllers and their options; empty checks nothing."""


def controller_keys() -> list[str]:
    """Full names of all controllers' options, e.g. `controller.eta`."""
    names = {option for options in REGISTRY.values() for option in options if option not in RUN_KEYS}
    return ["controller.name", *sorted(f"controller.{name}" for name in names)]


def check_controller(name: str, options: Mapping[str, Any]) -> None:
    """Raises SettingError where the controller or one of its options is not known."""
    for key in RUN_KEYS:
        if key in options:
            raise SettingError(f"controller.{key}", f"belongs to the run; set {key} at the top level")
    if not REGISTRY:
        return
    if name not in REGISTRY:
        near = nearest(name, list(REGISTRY))
        hint = f"; did you mean {near}?" if near else ""
        raise SettingError("controller.name", f"must be one of {' | '.join(REGISTRY)}{hint}")
    own = [option for option in REGISTRY[name] if option not in RUN_KEYS]
    for key in options:
        if key not in own:
            near = nearest(key, own)
            hint = f"did you mean controller.{near}? " if near else ""
            raise SettingError(
                f"controller.{key}",
                f"unknown option of {name}; {hint}It takes {', '.join(own) or 'no options'}",
            )


def controller_arguments(name: str, options: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for `make_controller(name, ...)`: `options`, and those of the `run`'s own settings
    (RUN_KEYS) that this controller's constructor takes."""
    return {**{key: run[key] for key in RUN_KEYS if key in REGISTRY.get(name, {})}, **options}


def controller_table() -> list[tuple[str, str]]:
    """Each controller's name with its own options and their defaults, as text."""
    rows = []
    for name, options in REGISTRY.items():
        own = [f"{key}={option.default!r}" for key, option in options.items() if key not in RUN_KEYS]
        rows.append((name, ", ".join(own) or "no options"))
    return rows
