"""`--set KEY=VALUE`, the same in every command that has settings."""

from __future__ import annotations

import argparse

from gdro.core.errors import GDROError


def add_set(parser: argparse.ArgumentParser, meaning: str = "change a setting") -> None:
    """Give a command the option `--set`; its texts are `overrides` of what is parsed."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help=meaning,
    )


def key_and_value(text: str, error: type[GDROError]) -> tuple[tuple[str, ...], str]:
    """The path of the key and the text of the value in one `a.b=value`.

    Args:
        error: what to raise.

    Raises:
        GDROError: of that kind, where the text is not of that form.
    """
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise error(f"--set {text}: write key=value, e.g. --set learning_rate=1e-6")
    return path, value
