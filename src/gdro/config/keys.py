"""The list of all keys, read off the schema: errors, help and docs/configuration.md go by it."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
PLAIN = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "mapping",
    "null": "null",
}


@dataclass(frozen=True)
class Key:
    """One key of the settings.

    Attributes:
        path: full name, e.g. `evaluation.temperature`.
        allowed: what a value may be, in words.
        default: the default as YAML would write it; `required` where there is none.
        meaning: what it does.
        kind: for a key of the data section, the data.kind it belongs to; empty for the others.
    """

    path: str
    allowed: str
    default: str
    meaning: str
    kind: str = ""


@functools.cache
def keys_of(root: type[BaseModel]) -> tuple[Key, ...]:
    """Every key of the schema `root`, in its order; a key of several data kinds comes once for
    each."""
    schema = root.model_json_schema()
    return tuple(_walk(schema, "", "", schema.get("$defs", {})))


@functools.cache
def sections(root: type[BaseModel]) -> tuple[str, ...]:
    """Names of the sections of `root`."""
    nested = (key.path.partition(".")[0] for key in keys_of(root) if "." in key.path)
    return tuple(dict.fromkeys(nested))


def _walk(section: dict[str, Any], above: str, kind: str, defs: dict[str, Any]) -> Iterator[Key]:
    for name, field in section["properties"].items():
        path = f"{above}{name}"
        if inner := _inner(field):
            for reference in inner:
                part = defs[reference]
                tag = part["properties"].get("kind", {}).get("const", "") if len(inner) > 1 else ""
                yield from _walk(part, f"{path}.", tag, defs)
        else:
            required = name in section.get("required", ())
            default = "required" if required else _yaml(field.get("default"))
            yield Key(path, _words(field), default, " ".join(field["description"].split()), kind)


def _inner(field: dict[str, Any]) -> list[str]:
    """The sections that a field may hold, by their names in the schema; none for a plain value."""
    choices = field.get("oneOf") or field.get("anyOf") or [field]
    return [str(one["$ref"]).rpartition("/")[2] for one in choices if "$ref" in one]


def _words(field: dict[str, Any]) -> str:
    """What a value may be: `whole number >= 1 or null`."""
    if "anyOf" in field:
        return " or ".join(map(_words, field["anyOf"]))
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    if "type" not in field:
        return "anything"
    if field["type"] == "array":
        return f"list of {_words(field['items'])}"
    bounds = [f"{sign} {json.dumps(field[name])}" for name, sign in BOUNDS.items() if name in field]
    return " ".join([PLAIN[field["type"]], " and ".join(bounds)]).strip()


def _yaml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def nearest(path: str, known: Sequence[str]) -> str | None:
    """The one of `known` most like `path`: by its last part, in the same section before others;
    else by all of it."""
    above, _, last = path.rpartition(".")
    beside = [name for name in known if name.rpartition(".")[0] == above]
    for pool in (beside, known):
        by_last = {name.rpartition(".")[2]: name for name in reversed(pool)}
        if close := difflib.get_close_matches(last, list(by_last), n=1):
            return by_last[close[0]]
    if beside:  # what is alike would be the section, which is right
        return None
    close = difflib.get_close_matches(path, list(known), n=1, cutoff=0.4)
    return close[0] if close else None
