"""Settings as text: strict YAML in and out, and `--set key=value` laid over it; each value keeps its place.

YAML here is the 1.2 core schema: `1e-6` is a number, `no` and `010` are text. Duplicate keys, anchors, tags
and more than one document are errors. Only plain values are ever built: nothing in a file can run code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from gdro.runs.config_base import ConfigError

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 20
TAG_KEYS = {"data": "kind", "controller": "name"}
"""Sections whose other keys depend on one of them: a new value of that key starts the section over."""

KeyPath = tuple[str, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema's scalars instead of YAML 1.1's, and nothing but plain values.

    Anchors and tags, and nesting deep enough to exhaust the stack, are refused before any value is built.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def __init__(self, text: str, place: str = "") -> None:
        super().__init__(text)
        self.place, self.depth = place, 0

    def get_event(self) -> yaml.Event:
        """SafeLoader's, checked."""
        event: yaml.Event = super().get_event()  # type: ignore[no-untyped-call]
        where = f"{self.place}, line {_line(event.start_mark)}"
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise ConfigError(f"{where}: anchors and aliases (& and *) are not allowed; repeat the value")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise ConfigError(f"{where}: tags ({event.tag}) are not allowed; write plain values")
        self.depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if self.depth > MAX_DEPTH:
            raise ConfigError(f"{where}: nested more than {MAX_DEPTH} deep")
        return event


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes whatever either YAML version would not read back as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: list(rules) for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Text with line breaks or other marks that do not print goes into double quotes, where all are escaped."""
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
_FLOAT = re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$")
_RULES = (
    ("null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""]),
    ("bool", re.compile(r"^(?:true|false)$"), list("tf")),
    ("int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
)
for _name, _pattern, _first in _RULES:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, _first)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, _first)


@dataclass
class Settings:
    """Values as nested dicts, and for each key path where it came from: `run.yaml, line 3`."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)
    place_unknown: str = "default"

    def place(self, path: KeyPath) -> str:
        """Where the value at `path` came from: its own place, else its section's, else a key's in it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        inside = [place for known, place in self.places.items() if known[: len(path)] == path]
        return inside[0] if inside else self.place_unknown


def parse_yaml(text: str, place: str) -> Any:
    """The plain value that `text` holds; `place` names the text in errors."""
    return _construct(_compose(text, place), place)


@lru_cache(maxsize=4)
def _compose(text: str, place: str) -> yaml.Node | None:
    """The text's nodes, which are only read: a comparison reads its recipe once for each of its runs."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{place}: {len(text)} characters; settings have at most {MAX_CHARACTERS}")
    try:
        node: yaml.Node | None = _Loader(text, place).get_single_node()
    except yaml.YAMLError as error:
        raise ConfigError(f"{place}: not valid YAML: {_one_line(error)}") from error
    return node


def _one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        if mark is not None:
            return f"line {_line(mark)}: {error.problem}"
    return " ".join(str(error).split())


def _line(mark: Any) -> int:
    """Line number of a YAML mark, from 1."""
    return int(mark.line) + 1


def _construct(node: yaml.Node | None, place: str) -> Any:
    if node is None:
        return None
    for line, message in _duplicate_keys(node):
        raise ConfigError(f"{place}, line {line}: {message}")
    try:
        return _Loader("").construct_document(node)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigError(f"{place}: a value cannot be read: {' '.join(str(error).split())}") from error


def _duplicate_keys(node: yaml.Node) -> Iterator[tuple[int, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = _line(key.start_mark)
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                yield line, f"key {getattr(key, 'value', '')!r} must be text"
                return
            if key.value in seen:
                yield line, f"key {key.value!r} is given twice, first on line {seen[key.value]}; keep one"
            seen[key.value] = line
            yield from _duplicate_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _duplicate_keys(value)


def read_settings(path: Path) -> Settings:
    """The settings of a YAML file, each with its line."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    node = _compose(text, str(path))
    values = _construct(node, str(path))
    if values is None:
        return Settings(place_unknown=path.name)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}; settings are `key: value` lines")
    assert isinstance(node, yaml.MappingNode)
    settings = Settings(values, dict(_lines(node, (), path.name)))
    _name_controller(settings)
    return settings


def _lines(node: yaml.MappingNode, above: KeyPath, name: str) -> Iterator[tuple[KeyPath, str]]:
    for key, value in node.value:
        path = (*above, key.value)
        yield path, f"{name}, line {_line(key.start_mark)}"
        if isinstance(value, yaml.MappingNode):
            yield from _lines(value, path, name)


def _name_controller(settings: Settings) -> None:
    """`controller: joint` is short for `controller: {name: joint}`."""
    if isinstance(settings.values.get("controller"), str):
        settings.values["controller"] = {"name": settings.values["controller"]}


def apply_overrides(settings: Settings, overrides: Sequence[str]) -> None:
    """Lays `a.b=value` texts over `settings`, in place.

    Values are YAML. Of two for one key the later wins; whole sections go before keys inside them, so the
    order of `controller=uniform` and `controller.eta=3` does not matter. A whole section replaces what was there:
    `controller=live_gdro` has that controller's defaults, whatever options stood beside the name.

    Raises:
        ConfigError: a text without `=`, an empty key, a value that is not YAML, a key inside a plain value.
    """
    parsed = [_parse_override(text) for text in overrides]
    parsed.sort(key=lambda item: (len(item[0]), item[0][-1] != TAG_KEYS.get(item[0][0])))
    for path, value, text in parsed:
        _set(settings, path, value, f"--set {text}")


def _parse_override(text: str) -> tuple[KeyPath, Any, str]:
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise ConfigError(f"--set {text}: write key=value, e.g. --set optimisation.learning_rate=1e-6")
    return path, parse_yaml(value, f"--set {text}"), text


def _set(settings: Settings, path: KeyPath, value: Any, place: str) -> None:
    if path == ("controller",) and isinstance(value, str):
        value = {"name": value}
    section = settings.values
    for depth, key in enumerate(path[:-1], start=1):
        if section.get(key) is None:
            section[key] = {}
        inner = section[key]
        if not isinstance(inner, dict):
            raise ConfigError(f"{place}: {'.'.join(path[:depth])} is {inner!r}, which has no keys of its own")
        section = inner
    if len(path) == 2 and TAG_KEYS.get(path[0]) == path[1] and section.get(path[1], value) != value:
        section.clear()
        _forget(settings, path[:1])
    section[path[-1]] = value
    _forget(settings, path)
    settings.places[path] = place


def _forget(settings: Settings, path: KeyPath) -> None:
    for known in [known for known in settings.places if known[: len(path)] == path]:
        del settings.places[known]


def dump_yaml(values: dict[str, Any]) -> str:
    """`values` as YAML that reads back to equal values; keys keep their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
