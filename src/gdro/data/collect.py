"""Rows of one or several files -> one list of prompts in which every id is there once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from gdro.core.errors import DataError
from gdro.data.prompts import COUNTS_ANEW, Prompt

Rows = Iterable[tuple[int, Prompt]]
OnDuplicate = Literal["error", "keep_first"]


@dataclass(frozen=True)
class Collected:
    """Prompts with unique ids, and what was left out.

    Attributes:
        prompts: in the order of the files and their rows.
        duplicates: number of rows dropped because an earlier row has their id.
        contradictions: how many of those have another prompt or answer than the row kept.
    """

    prompts: list[Prompt]
    duplicates: int = 0
    contradictions: int = 0


def collect(files: Iterable[tuple[str, Rows]], duplicates: OnDuplicate = "error") -> Collected:
    """All prompts of `files`, pairs of a name for errors and the (row, prompt) pairs of that file.

    Raises:
        DataError: two rows have one id and `duplicates` is `error`; some prompts are text and some
            are chats; or whatever reading a file raises.
    """
    kept: dict[str, tuple[int, str, int]] = {}
    prompts: list[Prompt] = []
    dropped = contradictions = 0
    for name, row, prompt in _all(files):
        _check_same_form(prompts, prompt, f"{name}, row {row}")
        if prompt.id not in kept:
            kept[prompt.id] = (len(prompts), name, row)
            prompts.append(prompt)
            continue
        index, first_name, first_row = kept[prompt.id]
        if duplicates == "error":
            other = prompts[index].messages != prompt.messages
            raise DataError(
                f"id {prompt.id!r} is there twice: {first_name}, row {first_row} and {name}, row"
                f" {row}; "
                + (
                    f"they are two prompts: {COUNTS_ANEW}"
                    if other
                    else "remove one, or set duplicates to keep_first"
                )
            )
        dropped += 1
        contradictions += (prompts[index].messages, prompts[index].answer) != (
            prompt.messages,
            prompt.answer,
        )
    return Collected(prompts, dropped, contradictions)


def _check_same_form(prompts: list[Prompt], prompt: Prompt, place: str) -> None:
    """A model gets either plain text or chats, never some of each."""
    if prompts and isinstance(prompts[0].messages, str) != isinstance(prompt.messages, str):
        now, before = ("text", "chats") if isinstance(prompt.messages, str) else ("a chat", "text")
        raise DataError(
            f"{place}: the prompt is {now} and those before it are {before}; "
            "give all prompts one form, or set chat to true to send text as a chat"
        )


def _all(files: Iterable[tuple[str, Rows]]) -> Iterator[tuple[str, int, Prompt]]:
    for name, rows in files:
        for row, prompt in rows:
            yield name, row, prompt
