"""The list of all keys, read off the schema: errors, help and docs/configuration.md go by it."""

from __future__ import annotations

import difflib
import functools
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gdro.runs.config_data import DATA_KINDS

BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false", dict: "mapping"}


@dataclass(frozen=True)
class Key:
    """One key of the settings.

    Attributes:
        path: full name, e.g. `optimisation.learning_rate`.
        allowed: what a value may be, in words.
        default: the default as YAML would write it; `required` where there is none.
        meaning: one line.
        kind: for a key of the data section, the data.kind it belongs to; empty for the others.
    """

    path: str
    allowed: str
    default: str
    meaning: str
    kind: str = ""


def describe(annotation: Any, metadata: list[Any] | None = None) -> str:
    """What a value of this type may be, in words: `whole number >= 1 or null`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extra = get_args(annotation)
        return describe(inner, _constraints(extra))
    if origin is Literal:
        return " | ".join(str(choice) for choice in get_args(annotation))
    if origin in (Union, types.UnionType):
        parts = [describe(part, metadata) for part in get_args(annotation) if part is not type(None)]
        return " or ".join([*parts, "null"])
    if origin is tuple and ... not in get_args(annotation):
        return f"list of {len(get_args(annotation))} {describe(get_args(annotation)[0])}s"
    if origin in (tuple, Sequence):
        return f"list of {describe(get_args(annotation)[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    bounds = [f"{sign} {getattr(m, name)}" for m in metadata or [] for name, sign in _bounds_of(m)]
    plain = PLAIN[origin or annotation]
    if not bounds or annotation is str:
        return plain
    return f"{plain} {' and '.join(bounds)}"


def _constraints(extra: list[Any]) -> list[Any]:
    return [item for part in extra for item in (part.metadata if isinstance(part, FieldInfo) else [part])]


def _bounds_of(constraint: Any) -> list[tuple[str, str]]:
    name = type(constraint).__name__.lower()
    return [(name, BOUNDS[name])] if name in BOUNDS else []


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    value = field.default
    if isinstance(value, tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if not _number(value) else str(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, if it holds one (`Section` or `Section | None`, annotated or not)."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _walk(model: type[BaseModel], above: str, kind: str = "") -> Iterator[Key]:
    for name, field in model.model_fields.items():
        path = f"{above}{name}"
        if path == "data":
            for data_kind, variant in DATA_KINDS.items():
                yield from _walk(variant, "data.", data_kind)
            continue
        section = _section(field.annotation)
        if section is not None:
            yield from _walk(section, f"{path}.")
            continue
        allowed = describe(field.annotation, field.metadata)
        yield Key(path, allowed, _default(field), field.description or "", kind)


@functools.cache
def all_keys(root: type[BaseModel]) -> tuple[Key, ...]:
    """Every key of the schema `root`, in its order; a key of several data kinds comes once for each."""
    return tuple(_walk(root, ""))


def sections(root: type[BaseModel]) -> tuple[str, ...]:
    """Names of the sections of `root`."""
    fields = root.model_fields.items()
    return tuple(name for name, field in fields if name == "data" or _section(field.annotation) is not None)


def find_key(root: type[BaseModel], path: str, data_kind: str) -> Key | None:
    """The key of that full name; `data_kind` picks among the kinds of data."""
    for key in all_keys(root):
        if key.path == path and key.kind in ("", data_kind):
            return key
    return None


def nearest(path: str, known: Sequence[str]) -> str | None:
    """The one of `known` most like `path`: by its last part, beside it or anywhere; by all in an unknown section."""
    above, _, last = path.rpartition(".")
    beside = [name for name in known if name.rpartition(".")[0] == above]
    for pool in (beside, known):
        by_last = {name.rpartition(".")[2]: name for name in reversed(pool)}
        close = difflib.get_close_matches(last, list(by_last), n=1, cutoff=0.6)
        if close:
            return by_last[close[0]]
    if beside:  # what is alike would be the section, which is right
        return None
    close = difflib.get_close_matches(path, list(known), n=1, cutoff=0.4)
    return close[0] if close else None
