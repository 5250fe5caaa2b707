"""YAML in and out: plain values, each with its line.

YAML here is the 1.2 core schema: `1e-6` is a number, `no` and `010` are text. Duplicate keys,
aliases, tags and more than one document are errors. Nothing in a text can run code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import yaml

from gdro.config.base import ConfigError

KeyPath = tuple[str, ...]
SCALARS = {
    "null": r"null|~|",
    "bool": r"true|false",
    "int": r"[-+]?(?:0|[1-9][0-9]*)",
    "float": (
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan"
    ),
}
"""What is no text when it is not quoted."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema's scalars, and without what settings have no use for."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):  # a few of them can stand for gigabytes
            raise _refused("aliases (*) are not allowed; repeat the value", event)
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        if node is not None and node.tag.rpartition(":")[2] not in (*SCALARS, "str", "seq", "map"):
            raise _refused(f"tags ({node.tag}) are not allowed; write plain values", node)
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either version of YAML would not read back as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, text: str) -> yaml.Node:
        """Text with marks that do not print goes into double quotes, where all of them are
        escaped."""
        style = None if text.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.text)
for _class in (_Loader, _Dumper):
    for _kind, _pattern in SCALARS.items():
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), [None]
        )


def parse_yaml(text: str, place: str) -> tuple[Any, dict[KeyPath, int]]:
    """The plain value that `text` holds, and the line of every key in it.

    Args:
        text: one document.
        place: names the text in errors.

    Raises:
        ConfigError: no YAML, or YAML that settings cannot be.
    """
    try:
        node = _compose(text)
        if node is None:
            return None, {}
        return _Loader("").construct_document(node), dict(_lines(node, ()))
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise ConfigError(f"{place}{line}: no usable YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{place}: no usable YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{place}: no usable YAML: nested too deep") from None


def dump_yaml(values: dict[str, Any]) -> str:
    """`values` as YAML that reads back to equal values; keys keep their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


@lru_cache(maxsize=4)
def _compose(text: str) -> yaml.Node | None:
    """The nodes, which are only read: a comparison reads its recipe once for all of its runs."""
    node: yaml.Node | None = _Loader(text).get_single_node()
    return node


def _check_keys(node: yaml.MappingNode) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
            raise _refused("a key must be text", key)
        if key.value in seen:
            raise _refused(f"{key.value!r} is given twice, first on line {seen[key.value]}", key)
        seen[key.value] = key.start_mark.line + 1


def _refused(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


def _lines(node: yaml.Node, above: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        yield (*above, key.value), key.start_mark.line + 1
        yield from _lines(value, (*above, key.value))
