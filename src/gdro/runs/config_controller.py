"""The `controller` section against the known controllers: its name, its options, and what the run adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gdro.controllers.controller import Controller
from gdro.controllers.registry import (
    SLOTS,
    controller_meaning,
    controller_names,
    controller_options,
    known,
    make_controller,
)
from gdro.core.errors import OptionError
from gdro.runs.config_base import SettingError
from gdro.runs.config_keys import describe, nearest

RUN_KEYS = ("mean_rollouts", "min_rollouts", "max_rollouts", "correct_threshold", "seed")
"""Settings of the run that a controller's constructor also takes: they are set at the top level only."""


def controller_keys() -> list[str]:
    """Full names of all controllers' options, e.g. `controller.eta`."""
    options = dict.fromkeys(option for name in controller_names() for option in _own(name))
    return ["controller.name", *(f"controller.{option}" for option in options)]


def resolved_options(name: str, options: Mapping[str, Any], run: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`options` with that controller's defaults for the others, as YAML values; as given for an unknown name.

    Args:
        run: what follows from the run's other settings, for the controllers that have such an option: an adversary
            that must know its `horizon` plays for the run's steps, weights that correct for the engine's `advantage`
            and `ddof` go by the run's.
    """
    try:
        defaults = _own(name)
    except OptionError:  # `check_controller` says so, with the place
        defaults = {}
    defaults |= {key: value for key, value in (run or {}).items() if key in defaults}
    return {**{key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}, **options}


def controller_arguments(name: str, options: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for `make_controller(name, ...)`: `options` and the `run`'s own settings (RUN_KEYS)."""
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    facts = {"horizon": run.get("steps")} if run.get("steps") else {}
    return {**{key: run[key] for key in RUN_KEYS}, "run": facts, **given}


def check_controller(name: str, options: Mapping[str, Any], run: Mapping[str, Any]) -> Controller:
    """Makes the controller once, to see that it can be made; it is the answer.

    Raises:
        SettingError: an unknown name or option, or a value of the wrong type or range.
    """
    if not known(name):
        near = nearest(name, controller_names())
        hint = f"; did you mean {near}?" if near else ""
        raise SettingError("controller.name", f"must be {' | '.join(controller_names())}{hint}")
    try:
        hints = {key: option.annotation for key, option in controller_options(name).items()}
    except OptionError as error:
        raise SettingError("controller.name", str(error)) from error
    for key, value in options.items():
        _check_option(name, key, value, hints)
    try:
        return make_controller(name, **controller_arguments(name, options, run))
    except OptionError as error:
        option = str(error).partition("=")[0]
        raise SettingError(f"controller.{option}" if option in options else "controller", str(error)) from error


def _check_option(name: str, key: str, value: Any, hints: Mapping[str, Any]) -> None:
    if key in RUN_KEYS:
        raise SettingError(f"controller.{key}", f"belongs to the run; set {key} at the top level")
    if key in SLOTS:
        return
    own = list(_own(name))
    if key not in own:
        near = nearest(key, own)
        hint = f"did you mean controller.{near}?" if near else f"it has {', '.join(own)}"
        raise SettingError(f"controller.{key}", f"unknown option of {name}; {hint}")
    try:
        TypeAdapter(hints[key]).validate_python(tuple(value) if isinstance(value, list) else value, strict=True)
    except ValidationError:
        raise SettingError(f"controller.{key}", f"must be {describe(hints[key])}") from None


def _own(name: str) -> dict[str, Any]:
    """A controller's options without the run's, with the defaults that this name has."""
    return {key: option.default for key, option in controller_options(name).items() if key not in RUN_KEYS}


def controller_table() -> list[tuple[str, str, str]]:
    """Each controller's name, its meaning, and its own options with their defaults as text."""
    rows = []
    for name in controller_names():
        options = resolved_options(name, {})
        rows.append(
            (name, controller_meaning(name), ", ".join(f"{key}: {_yaml(value)}" for key, value in options.items()))
        )
    return rows


def option_types() -> dict[str, str]:
    """What each option of any controller may be, in words."""
    return {
        key: describe(controller_options(name)[key].annotation) for name in controller_names() for key in _own(name)
    }


def _yaml(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
