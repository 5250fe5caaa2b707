"""Settings of a run: their schema, how they are loaded from YAML and `--set`, and their
reference."""

from __future__ import annotations

from gdro.config.base import ConfigError
from gdro.config.loading import load_config, recipe_names
from gdro.config.rules import TrainConfig, controller_of

__all__ = ["ConfigError", "TrainConfig", "controller_of", "load_config", "recipe_names"]
