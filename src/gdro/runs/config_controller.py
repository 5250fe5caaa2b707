"""The `controller` section against the controllers there are: its name, its options, and what the run adds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from gdro.runs.config_base import ConfigError
from gdro.runs.config_schema import TrainConfig

RUN_KEYS = ("mean_rollouts", "min_rollouts", "max_rollouts", "correct_threshold", "seed")
"""Settings of the run that a controller's constructor may also take: they are set at the top level only."""

REGISTRY: Mapping[str, Mapping[str, inspect.Parameter]] = {}
"""Controllers and their options; empty checks nothing."""


def controller_keys() -> list[str]:
    """Full names of all controllers' options, e.g. `controller.eta`."""
    names = {option for options in REGISTRY.values() for option in options if option not in RUN_KEYS}
    return ["controller.name", *sorted(f"controller.{name}" for name in names)]


def check_controller(config: TrainConfig, place: Callable[[tuple[str, ...]], str]) -> None:
    """Raises ConfigError where the controller or one of its options is not known; `place` says where a key came from."""
    for key in RUN_KEYS:
        if key in config.controller.options:
            where = place(("controller", key))
            raise ConfigError(f"controller.{key} ({where}): belongs to the run; set {key} at the top level")


def controller_arguments(config: TrainConfig) -> dict[str, Any]:
    """Keyword arguments for `make_controller(config.controller.name, ...)`: the options, and the run's own settings
    as far as that controller takes them."""
    known = REGISTRY.get(config.controller.name, {})
    run = {key: getattr(config, key) for key in RUN_KEYS if key in known}
    return {**run, **config.controller.options}
