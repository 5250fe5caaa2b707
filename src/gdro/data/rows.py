"""One row of any source -> one Prompt, or a DataError that names the row.

The rules, the same for every kind of file:

- A prompt is text or a list of chat messages `{"role": text, "content": text}`, the last of them
  the user's or a tool's; blank ones are errors.
- An answer is text, kept as it is, or a number, written as `number_text` says; null, blank,
  true/false, lists and objects are errors.
- The id is `<source>/<row's own id>`; without an id column `<source>/<first 16 hex digits of the
  SHA-256 of the prompt>`. It never depends on the row's position.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from gdro.core.errors import DataError
from gdro.data.chat import Shape
from gdro.data.prompts import Message, Prompt, shown

ASKING = ("user", "tool")
"""Roles whose turn a model answers."""
ROLES = ("system", "developer", "assistant", *ASKING)
"""Roles of chat messages; a chat template may pass over a turn of another in silence."""


@dataclass(frozen=True)
class Columns:
    """Which column holds what; a dot enters a nested object (`reward_model.ground_truth`).

    Attributes:
        prompt: text or chat messages.
        answer: the gold answer.
        id: the id within its source; None derives it from the prompt.
        source: the source's name; None takes the name that the reader gives.
        metadata: further columns handed on to the verifier, JSON values only.
    """

    prompt: str = "prompt"
    answer: str = "answer"
    id: str | None = None
    source: str | None = None
    metadata: tuple[str, ...] = ()

    def with_source(self, source: str | None) -> Columns:
        """The same, without the source's column where `source` names it for every row."""
        return self if source is None else replace(self, source=None)

    def names(self) -> list[str]:
        """Every column needed."""
        return [
            name
            for name in (self.prompt, self.answer, self.id, self.source, *self.metadata)
            if name is not None
        ]


def to_prompt(
    row: Mapping[str, Any], columns: Columns, shape: Shape, source: str, place: str
) -> Prompt:
    """The Prompt of one row.

    Args:
        row: column name -> value.
        columns: where to look.
        shape: applied to plain-text prompts.
        source: name of the source where the row gives none.
        place: `file, row n`, for errors.

    Raises:
        DataError: anything missing, empty or of the wrong type.
    """
    prompt = column(row, columns.prompt, place, setting="data.prompt_column")
    messages = _messages(prompt, columns.prompt, place)
    if columns.source is not None:
        source = _name(
            column(row, columns.source, place), columns.source, place, whole_numbers=False
        )
    if columns.id is not None:
        own = _name(column(row, columns.id, place), columns.id, place, whole_numbers=True)
    else:
        own = content_hash(messages)
    gold = column(row, columns.answer, place, setting="data.answer_column")
    answer = answer_text(gold, columns.answer, place)
    metadata = {
        name: _json_value(column(row, name, place), name, place) for name in columns.metadata
    }
    return Prompt(f"{source}/{own}", shape.apply(messages, place), answer, source, metadata)


def column(row: Mapping[str, Any], name: str, place: str, *, setting: str = "") -> Any:
    """The value of a column, entering nested objects at dots; a column with the whole name comes
    first. `setting`: what names the column, for the error."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = ", ".join(sorted(map(str, row))[:12])
            hint = f"; {setting} names another column" if setting else ""
            raise DataError(
                f"{place}: no column {name!r}; the row has {known or 'no columns'}{hint}"
            )
        value = value[part]
    return value


def content_hash(messages: str | list[Message]) -> str:
    """The first 16 hex digits of the SHA-256 of a prompt's text (of its messages as JSON, for a
    chat)."""
    if not isinstance(messages, str):
        messages = json.dumps(messages, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(messages.encode("utf-8")).hexdigest()[:16]


def answer_text(value: Any, name: str, place: str) -> str:
    """A gold answer as text; see the rules above."""
    if isinstance(value, str):
        return _text(value, name, place)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return number_text(value, name, place)
    what = "is null" if value is None else f"is {_kind(value)}"
    raise DataError(
        f"{place}: {name} {what}; an answer is text or a number: fill it in or remove the row"
    )


def number_text(value: int | float | Decimal, name: str, place: str) -> str:
    """A number as text: whole ones without a point (`3.0` is `3`), others in the shortest exact
    form.

    Never in e-notation, which reads as Euler's number elsewhere: JSON's 0.00001 is `0.00001`.

    Whole floats from 1e16 on, which may have lost digits, and numbers that are not finite are
    errors.
    """
    if not math.isfinite(value):
        raise DataError(f"{place}: {name} is {value}; an answer must be finite")
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, int):
        return str(value)
    if not value.is_integer():
        return format(Decimal(repr(value)), "f")
    if abs(value) >= 1e16:
        raise DataError(
            f"{place}: {name} is {value!r}, too large for a float to be exact; give it as text"
        )
    return str(int(value))


def _messages(value: Any, name: str, place: str) -> str | list[Message]:
    if isinstance(value, str):
        return _text(value, name, place)
    if not isinstance(value, list):
        what = "null" if value is None else _kind(value)
        raise DataError(f"{place}: {name} is {what}; a prompt is text or a list of chat messages")
    if not value:
        raise DataError(f"{place}: {name} is an empty list; remove the row or give it a prompt")
    messages = [_message(item, f"{name}[{turn}]", place) for turn, item in enumerate(value)]
    if (last := messages[-1]["role"]) not in ASKING:
        raise DataError(
            f"{place}: {name} ends with a turn of {last!r}, and the model answers one of"
            f" {' or '.join(ASKING)}; take the last turn out, which may hold the answer"
        )
    return messages


def _message(item: Any, name: str, place: str) -> Message:
    if not isinstance(item, Mapping):
        raise DataError(f"{place}: {name} is {_kind(item)}; a chat message is {{role, content}}")
    given = {key: value for key, value in item.items() if value is not None}
    if given.keys() != {"role", "content"}:
        keys = ", ".join(sorted(map(str, given))) or "none"
        raise DataError(
            f"{place}: {name} has the keys {keys}; a chat message has role and content, both text"
        )
    message = {key: _text(given[key], f"{name}.{key}", place) for key in ("role", "content")}
    if message["role"] not in ROLES:
        raise DataError(
            f"{place}: {name}.role is {shown(message['role'])}; write one of {', '.join(ROLES)}"
        )
    return message


def _name(value: Any, name: str, place: str, *, whole_numbers: bool) -> str:
    if whole_numbers and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if whole_numbers and isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))  # a column of whole numbers that had a gap somewhere
    if whole_numbers and not isinstance(value, str):
        what = "null" if value is None else _kind(value)
        raise DataError(f"{place}: {name} is {what}; an id is text or a whole number")
    return _text(value, name, place)


def _text(value: Any, name: str, place: str) -> str:
    if not isinstance(value, str):
        what = "null" if value is None else _kind(value)
        raise DataError(f"{place}: {name} is {what}; it must be text")
    if not value.strip():
        raise DataError(f"{place}: {name} is empty; fill it in or remove the row")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{place}: {name} holds half a character pair at {error.start}; write it as UTF-8"
        ) from error
    return value


def _json_value(value: Any, name: str, place: str) -> Any:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{place}: {name} is not a JSON value ({error}); leave it out of the metadata"
        ) from error
    return value


def _kind(value: Any) -> str:
    kinds = {
        bool: "true/false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
        bytes: "bytes",
    }
    return f"{kinds.get(type(value), type(value).__name__)} ({shown(value, 40)})"
