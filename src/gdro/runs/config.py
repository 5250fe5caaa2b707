"""Settings in: a recipe or YAML file, `--set key=value` over it, checked by the one schema; the first error is clear.

`load_config` serves the command line; Python code may also write `TrainConfig(steps=4, ...)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gdro.runs.config_base import ConfigError
from gdro.runs.config_controller import check_controller, controller_keys
from gdro.runs.config_data import DATA_KINDS
from gdro.runs.config_keys import SECTIONS, find_key, nearest_key
from gdro.runs.config_schema import TrainConfig
from gdro.runs.config_yaml import Settings, apply_overrides, dump_yaml, read_settings

__all__ = ["DEFAULT_RECIPE", "ConfigError", "TrainConfig", "load_config", "recipe_names", "to_yaml"]

DEFAULT_RECIPE = "default"


def recipe_names() -> list[str]:
    """The recipes inside the package, e.g. `default`."""
    folder = resources.files("gdro") / "recipes"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_config(recipe_or_path: str | Path | None = None, overrides: Sequence[str] = ()) -> TrainConfig:
    """The checked settings of a run.

    Args:
        recipe_or_path: a recipe's name, or a YAML file; None is the embedded default recipe. What the file leaves
            out takes the schema's default.
        overrides: `key=value` texts laid over it, in any order; values are YAML.

    Raises:
        ConfigError: one message with a line per problem, each naming the key, the value, its place and the remedy.
    """
    settings = read_settings(_locate(recipe_or_path))
    apply_overrides(settings, overrides)
    return check_settings(settings)


def check_settings(settings: Settings) -> TrainConfig:
    """`settings` as a TrainConfig; see `load_config` for the errors."""
    try:
        config = TrainConfig.model_validate(settings.values)
    except ValidationError as error:
        lines = [_explain(detail, settings) for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None
    check_controller(config, settings.place)
    return config


def to_yaml(config: TrainConfig) -> str:
    """Every setting as YAML; `load_config` of it gives an equal config."""
    return dump_yaml(config.model_dump(mode="json"))


def _locate(recipe_or_path: str | Path | None) -> Path:
    name = DEFAULT_RECIPE if recipe_or_path is None else str(recipe_or_path)
    if name in recipe_names():
        return Path(str(resources.files("gdro") / "recipes" / f"{name}.yaml"))
    path = Path(name)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(
            f"{name}: no recipe of that name, and the file {what}; recipes: {', '.join(recipe_names())}"
        )
    return path


def _explain(detail: ErrorDetails, settings: Settings) -> str:
    """One line for one of pydantic's errors."""
    kind = str(_at(settings.values, ("data", "kind")) or "reasoning_gym")
    path = _key_path(detail["loc"])
    name, place = ".".join(path), settings.place(path)
    if not path:
        return str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        return f"{name} ({place}): unknown key{_suggest(name, kind)}"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        kinds = " | ".join(DATA_KINDS)
        given = _at(settings.values, ("data", "kind"))
        return f"data.kind = {given!r} ({settings.place(('data', 'kind'))}): must be one of {kinds}"
    key = find_key(name, kind)
    allowed = key.allowed if key else str(detail["msg"])
    if path[0] in SECTIONS and len(path) == 1:
        allowed = "a section of `key: value` lines"
    if detail["type"] == "missing":
        return f"{name} ({place}): missing; give {allowed}"
    return f"{name} = {_short(_at(settings.values, path))} ({place}): must be {allowed}"


def _key_path(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """pydantic's location as a key path: without the data union's tag and without list positions."""
    parts = list(loc)
    if len(parts) > 1 and parts[0] == "data" and parts[1] in DATA_KINDS:
        del parts[1]
    path: list[str] = []
    for part in parts:
        if isinstance(part, int):
            break
        path.append(part)
    return tuple(path)


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _suggest(name: str, kind: str) -> str:
    near = nearest_key(name, controller_keys())
    if near == name:
        return f"; it belongs to another data.kind than {kind}"
    return f"; did you mean {near}?" if near else ""
