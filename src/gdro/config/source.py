"""Settings before they are checked: plain values, and for each key where it was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from gdro.config.base import ConfigError
from gdro.config.data import kind_of
from gdro.config.yaml_text import KeyPath, parse_yaml
from gdro.controllers.registry import SLOTS
from gdro.overrides import key_and_value

ABSENT = object()
NAMED = ("controller", "objective")
"""Sections that a name alone is short for, and that a name starts over: it has its own defaults."""
PARTS = tuple(("controller", slot) for slot in SLOTS)
"""Sections inside the controller's, of which the same holds."""
TAGS = (
    ("data", "kind"),
    ("data", "path"),
    *((section, "name") for section in NAMED),
    *((*part, "name") for part in PARTS),
)
"""Keys on which the others of their section depend, each on those before it."""


@dataclass
class Source:
    """Values as nested dicts, and for each key path where it came from: `run.yaml, line 3`."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in NAMED:
            if isinstance(name := self.values.get(key), str):
                self.values = self.values | {key: {"name": name}}
                if (key,) in self.places:
                    self.places[(key, "name")] = self.places[(key,)]

    def value(self, path: str) -> Any:
        """The value of a full key; ABSENT where none was given."""
        value: Any = self.values
        for key in path.split("."):
            if isinstance(value, BaseModel):  # a section that was built in Python
                value = vars(value)
            value = value.get(key, ABSENT) if isinstance(value, Mapping) else ABSENT
        return value

    def place(self, path: KeyPath) -> str:
        """Where the value at `path` came from: its own place, else its section's; empty where not
        given."""
        above = [path[:end] for end in range(len(path), 0, -1)]
        return next((self.places[key] for key in above if key in self.places), "")

    def without(self, paths: Iterable[str]) -> dict[str, Any]:
        """The values but for those at `paths`, so that the rest can be looked at; nor sections in
        which a key is missing, or nothing is left."""
        kept = {
            key: dict(value) if isinstance(value, dict) else value
            for key, value in self.values.items()
        }
        for name, _, inner in (path.partition(".") for path in paths):
            section = kept.get(name)
            if isinstance(section, dict) and inner in section and len(section) > 1:
                del section[inner]
            else:
                kept.pop(name, None)
        return kept

    def lay(self, above: Source) -> None:
        """Lay other settings over these: sections key by key, but for one that starts over."""
        self.values = _merged(self.values, above.values, ())
        self.places |= above.places

    def lay_texts(self, overrides: Sequence[str]) -> None:
        """Lay `a.b=value` texts over these, values being YAML.

        Of two for one key the later wins; sections go before keys inside them, and what others
        depend on goes first, so the order of `controller=uniform` and `controller.eta=3` does not
        matter.

        Raises:
            ConfigError: a line for each text that is not `key=value` with a key and a value of
                YAML.
        """
        wrong, parsed = [], []
        for text in overrides:
            try:
                parsed.append(parse_override(text))
            except ConfigError as error:
                wrong.append(str(error))
        if wrong:
            raise ConfigError("\n".join(wrong))
        ranks = {path: rank for rank, path in enumerate(TAGS)}
        for path, value, places in sorted(
            parsed, key=lambda one: (len(one[0]), ranks.get(one[0], len(TAGS)))
        ):
            for key in reversed(path):
                value = {key: value}
            self.lay(Source(value, places))


def parse_override(text: str) -> tuple[KeyPath, Any, dict[KeyPath, str]]:
    """The key path and the value of one `a.b=value`, and the place of every key in it.

    Raises:
        ConfigError: it is not of that form.
    """
    path, value = key_and_value(text, ConfigError)
    place = f"--set {text}"
    parsed, lines = parse_yaml(value, place)
    keys = [path[:end] for end in range(1, len(path))] + [(*path, *inner) for inner in ((), *lines)]
    return path, parsed, dict.fromkeys(keys, place)


def _merged(old: Any, new: Any, path: KeyPath) -> Any:
    if path in PARTS and isinstance(old, str):
        old = {"name": old}
    if not (isinstance(old, dict) and isinstance(new, dict)) or _starts_over(path, old, new):
        return new
    return old | {key: _merged(old.get(key), value, (*path, key)) for key, value in new.items()}


def _starts_over(path: KeyPath, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a section replaces the one below it as a whole."""
    if path == ("data",):
        return bool({"kind", "path"} & new.keys()) and kind_of(new) not in (None, kind_of(old))
    return "name" in new and (path in PARTS or (len(path) == 1 and path[0] in NAMED))
