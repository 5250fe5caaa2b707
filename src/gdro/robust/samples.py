"""What a method remembers of each sample, by id: a few float32 or int32 columns, under 40 bytes a
sample in all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gdro.core.errors import StateError
from gdro.core.state import ANY, State, read_array
from gdro.core.types import Ints
from gdro.robust.batch import Keys

Column = NDArray[Any]

RECENT = 4096
"""New samples wait in a dictionary until there are this many, or 1/64 of all; then they join the
sorted index."""


class SampleTable:
    """Rows by 64-bit key, in columns.

    A sorted array of keys with the row of each (12 bytes a sample) stands beside the columns; a
    Python dictionary of a million ids alone would take about 100 bytes each.

    Args:
        columns: type and first value of each column.
    """

    def __init__(self, columns: Mapping[str, tuple[DTypeLike, float]]) -> None:
        self._first = {name: (np.dtype(kind), value) for name, (kind, value) in columns.items()}
        self._keys: Keys = np.zeros(0, np.uint64)
        self._rows = np.zeros(0, np.uint32)
        self._recent: dict[int, int] = {}
        self._columns: dict[str, Column] = {
            name: np.zeros(0, kind) for name, (kind, _) in self._first.items()
        }
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def __getitem__(self, name: str) -> Column:
        """The column, (len,) and writable in place."""
        return self._columns[name][: self._used]

    @property
    def nbytes(self) -> int:
        """Memory of index and columns, without the dictionary of the latest samples."""
        return (
            self._keys.nbytes
            + self._rows.nbytes
            + sum(column.nbytes for column in self._columns.values())
        )

    def find(self, keys: Keys) -> Ints:
        """(n,) row of each key, -1 where it is new."""
        found = np.full(len(keys), -1, np.int64)
        if len(self._keys):
            place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            known = self._keys[place] == keys
            found[known] = self._rows[place[known]]
        if self._recent:
            for at in np.flatnonzero(found < 0):
                found[at] = self._recent.get(int(keys[at]), -1)
        return found

    def rows(self, keys: Keys) -> Ints:
        """(n,) row of each key; new keys get rows with the columns' first values."""
        found = self.find(keys)
        for at in np.flatnonzero(found < 0):
            found[at] = self._recent.setdefault(int(keys[at]), self._used)
            self._used = max(self._used, int(found[at]) + 1)
        self._grow()
        if len(self._recent) > max(RECENT, self._used // 64):
            self._merge()
        return found

    def compact(self) -> None:
        """Put the rows in the order of their keys, so that sums over them do not depend on who came
        first."""
        self._merge()
        for name, column in self._columns.items():
            self._columns[name] = column[self._rows]
        self._rows = np.arange(self._used, dtype=np.uint32)

    def state_dict(self) -> State:
        """Keys in order, and the columns in that order."""
        self.compact()
        return {
            "keys": self._keys.copy(),
            **{name: self._columns[name].copy() for name in self._first},
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave.

        Raises:
            StateError: a column is missing or does not fit the keys, or these are in no order.
        """
        keys = read_array(state, "keys", self._keys, ANY)
        if not (keys[1:] > keys[:-1]).all():
            raise StateError("the state is damaged: the keys of the samples do not rise")
        columns = {
            name: read_array(state, name, np.zeros(0, kind), len(keys))
            for name, (kind, _) in self._first.items()
        }
        self._keys, self._columns, self._recent, self._used = keys, columns, {}, len(keys)
        self._rows = np.arange(len(keys), dtype=np.uint32)

    def _grow(self) -> None:
        for name, (kind, first) in self._first.items():
            column = self._columns[name]
            if len(column) < self._used:
                longer = np.full(max(self._used + self._used // 16, 64), first, kind)
                longer[: len(column)] = column
                self._columns[name] = longer

    def _merge(self) -> None:
        if not self._recent:
            return
        fresh = np.fromiter(self._recent.keys(), np.uint64, len(self._recent))
        rows = np.fromiter(self._recent.values(), np.uint32, len(self._recent))
        order = np.argsort(fresh)
        place = np.searchsorted(self._keys, fresh[order])
        self._keys = np.insert(self._keys, place, fresh[order])
        self._rows = np.insert(self._rows, place, rows[order])
        self._recent = {}
