"""Prompts by id: a table from stable prompt id to a row of growable arrays.

The arrays take under 64 bytes a prompt; the id and its place in the dictionary come on top (see docs/core.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gdro.core.errors import PromptIdError, StateError
from gdro.core.hashing import Keys, prompt_key
from gdro.core.state import ANY, State, read_array, read_state
from gdro.core.types import Ints

GROWTH = 1.25


def source_of(prompt_id: str, separator: str = "/") -> str:
    """Where a prompt comes from: its id up to the last separator; "" without one."""
    return prompt_id.rpartition(separator)[0]


class PromptTable:
    """Columns of numbers with one row a prompt. A prompt gets its row when it is first planned, and keeps it."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._columns: dict[str, NDArray[Any]] = {}
        self._defaults: dict[str, Any] = {}
        self.add_column("key", np.uint64, 0)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, prompt_id: object) -> bool:
        return prompt_id in self._rows

    @property
    def ids(self) -> list[str]:
        """All ids, in row order."""
        return list(self._rows)

    def add_column(self, name: str, dtype: DTypeLike, default: float, width: int | None = None) -> None:
        """Add a column (N,) or, with a width, (N, width), filled with its default."""
        shape = (0,) if width is None else (0, width)
        self._columns[name] = np.empty(shape, dtype)
        self._defaults[name] = default

    def column(self, name: str) -> NDArray[Any]:
        """A writable view of a column's rows in use; invalid after the next `rows` call that adds prompts."""
        return self._columns[name][: len(self._rows)]

    @property
    def bytes_per_prompt(self) -> int:
        """Bytes of all columns for one prompt, without the id and its dictionary entry."""
        return sum(
            column.itemsize * int(np.prod(column.shape[1:], dtype=np.int64)) for column in self._columns.values()
        )

    def known_rows(self, prompt_ids: Sequence[str]) -> Ints:
        """(M,) rows of prompts; -1 for one that has none. Changes nothing."""
        find = self._rows.get
        return np.array([find(prompt_id, -1) for prompt_id in prompt_ids], np.int64)

    def keys(self, prompt_ids: Sequence[str], rows: Ints) -> Keys:
        """(M,) `prompt_key` of each prompt, given its known row or -1; those of known rows are not hashed again."""
        keys = self.column("key")[rows] if len(self) else np.zeros(len(rows), np.uint64)
        unknown = np.flatnonzero(rows < 0)
        keys[unknown] = [prompt_key(prompt_ids[place]) for place in unknown.tolist()]
        return keys

    def rows(self, prompt_ids: Sequence[str]) -> Ints:
        """(M,) rows of prompts; a new prompt gets the next free row."""
        rows = self.known_rows(prompt_ids)
        if (rows >= 0).all():
            return rows
        known = len(self._rows)
        fresh = list(dict.fromkeys(i for i in prompt_ids if i not in self._rows))
        self._grow(known, known + len(fresh))
        self._rows.update(zip(fresh, range(known, known + len(fresh)), strict=True))
        self._columns["key"][known : known + len(fresh)] = [prompt_key(i) for i in fresh]
        return self.known_rows(prompt_ids)

    def _grow(self, known: int, needed: int) -> None:
        for name, column in self._columns.items():
            if len(column) < needed:
                capacity = max(needed, int(len(column) * GROWTH), 64)
                grown = np.full((capacity, *column.shape[1:]), self._defaults[name], column.dtype)
                grown[:known] = column[:known]
                self._columns[name] = grown

    def state_dict(self) -> State:
        """Ids as one text with their lengths, and every column, cut to the rows in use."""
        lengths = np.fromiter(map(len, self._rows), np.int32, len(self._rows))
        text = "".join(self._rows).encode("utf-8", "surrogatepass")
        columns = {name: self.column(name).copy() for name in self._columns}
        return {"ids": np.frombuffer(text, np.uint8), "id_lengths": lengths, "columns": columns}

    def load_state_dict(self, state: State) -> None:
        """Replace the whole table.

        Raises:
            StateError: the columns are not this table's, or their lengths do not fit the ids.
        """
        ids = _split_ids(state)
        saved = read_state(state, "columns")
        columns = {name: read_array(saved, name, column, rows=len(ids)) for name, column in self._columns.items()}
        self._rows = {prompt_id: row for row, prompt_id in enumerate(ids)}
        self._columns = columns


def _split_ids(state: State) -> list[str]:
    """The ids of a saved table; raises StateError when text and lengths do not fit each other."""
    packed = read_array(state, "ids", np.empty(0, np.uint8), rows=ANY)
    lengths = read_array(state, "id_lengths", np.empty(0, np.int32), rows=ANY)
    try:
        text = packed.tobytes().decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise StateError(f"state key 'ids' is damaged ({error}); load an older checkpoint") from None
    ends = np.cumsum(lengths, dtype=np.int64)
    ids = [text[start:end] for start, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]
    if (lengths < 1).any() or int(lengths.sum(dtype=np.int64)) != len(text) or len(set(ids)) != len(ids):
        raise StateError("state key 'id_lengths' does not fit 'ids'; load an older checkpoint")
    return ids


def check_ids(prompt_ids: Sequence[str]) -> tuple[str, ...]:
    """The ids of one batch, checked.

    Raises:
        PromptIdError: an empty batch, or an id that is empty, not a string, or there twice.
    """
    if isinstance(prompt_ids, str):
        raise PromptIdError(f"prompt_ids is the single string {prompt_ids!r}; give a list of ids")
    try:
        ids = tuple(prompt_ids)
    except TypeError:
        raise PromptIdError(f"prompt_ids is {prompt_ids!r}; give a list of ids") from None
    if not ids:
        raise PromptIdError("the batch holds no prompt id; plan at least one prompt")
    if set(map(type, ids)) != {str} or not all(ids):
        for place, prompt_id in enumerate(ids):
            if not isinstance(prompt_id, str) or not prompt_id:
                raise PromptIdError(f"prompt id number {place} is {prompt_id!r}; ids are non-empty strings")
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise PromptIdError(f"prompt id {twice!r} is in the batch twice; every prompt of a batch has its own id")
    return ids
