"""Pydantic's list of problems, told as lines of one ConfigError: key, value, place, what is allowed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gdro.runs.config_base import ConfigError, SettingError
from gdro.runs.config_controller import controller_keys
from gdro.runs.config_data import DATA_KINDS
from gdro.runs.config_keys import all_keys, find_key, nearest, sections
from gdro.runs.config_yaml import Settings

ELSEWHERE = {
    "lr": "optimisation.learning_rate",
    "beta": "optimisation.beta_kl",
    "epsilon": "optimisation.clip_low",
    "epsilon_high": "optimisation.clip_high",
    "max_steps": "steps",
    "batch_size": "prompts_per_step",
    "train_batch_size": "prompts_per_step",
    "num_generations": "mean_rollouts",
    "max_prompt_length": "generation.max_prompt_tokens",
    "max_completion_length": "generation.max_completion_tokens",
    "per_device_train_batch_size": "optimisation.micro_batch",
    "save_steps": "checkpoint.every",
    "eval_steps": "evaluation.every",
    "output_dir": "output",
}
"""What other trainers call some of our keys."""

_ABSENT = object()


def explained(error: ValidationError, root: type[BaseModel], settings: Settings) -> ConfigError:
    """The ConfigError that says what `error` found in `settings` under the schema `root`."""
    lines = [_line(detail, root, settings) for detail in error.errors(include_url=False)]
    return ConfigError("\n".join(dict.fromkeys(lines)))


def _line(detail: ErrorDetails, root: type[BaseModel], settings: Settings) -> str:
    given_kind = _at(settings.values, ("data", "kind"))
    data_kind = "reasoning_gym" if given_kind is _ABSENT else str(given_kind)
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{_told('data.kind', settings)}: must be {' | '.join(DATA_KINDS)}"
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, SettingError):
        return f"{_told(cause.path, settings)}: {cause}"
    path = _key_path(detail["loc"])
    if not path:
        return str(detail["msg"])
    name = ".".join(path)
    if detail["type"] == "extra_forbidden":
        return f"{name}{_place(path, settings)}: unknown key{_hint(name, root, data_kind)}"
    key = find_key(root, name, data_kind)
    allowed = key.allowed if key else str(detail["msg"])
    if name in sections(root):
        allowed = "a section of `key: value` lines"
    if detail["type"] == "missing":
        return f"{name}{_place(path[:-1], settings)}: missing; give {allowed}"
    return f"{_told(name, settings)}: must be {allowed}"


def _told(name: str, settings: Settings) -> str:
    """`steps = -1 (run.yaml, line 3)`, or `steps (not given)`."""
    path = tuple(name.split("."))
    value = _at(settings.values, path)
    if value is _ABSENT:
        return f"{name} (not given)"
    text = repr(value)
    return f"{name} = {text if len(text) <= 80 else text[:77] + '...'}{_place(path, settings)}"


def _place(path: tuple[str, ...], settings: Settings) -> str:
    place = settings.place(path)
    return f" ({place})" if place else ""


def _hint(name: str, root: type[BaseModel], data_kind: str) -> str:
    keys = [key.path for key in all_keys(root) if key.kind in ("", data_kind)]
    others = [key for key in all_keys(root) if key.path == name]
    if others:
        return f" for data.kind {data_kind}; it belongs to {' | '.join(key.kind for key in others)}"
    if name.rpartition(".")[2] in ELSEWHERE:
        return f"; did you mean {ELSEWHERE[name.rpartition('.')[2]]}?"
    near = nearest(name, [*keys, *sections(root), *controller_keys()])
    return f"; did you mean {near}?" if near else "; `gdro train --help` lists all keys"


def _key_path(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """Pydantic's location as a key path: without the data union's tag and what follows a list position."""
    parts = list(loc)
    if len(parts) > 1 and parts[0] == "data" and parts[1] in DATA_KINDS:
        del parts[1]
    names = [part if isinstance(part, str) else "" for part in parts]
    return tuple(names[: names.index("")] if "" in names else names)


def _at(values: Any, path: tuple[str, ...]) -> Any:
    """The value at `path`, through mappings and already built sections; _ABSENT where there is none."""
    for key in path:
        if isinstance(values, BaseModel):
            values = values.model_dump()
        values = values.get(key, _ABSENT) if isinstance(values, dict) else _ABSENT
    return values
