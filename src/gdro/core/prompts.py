"""Prompts by id: one look-up a batch, and a table from planned prompts to rows of growable arrays.

A prompt's source is its id up to the last "/": `dapo_math/17` comes from `dapo_math`. That is the
one definition of a source; controllers, comparisons, reports and evaluations all use `source_of`.

Every id that was ever looked up has a place in the directory, which remembers its hash and its
source, so that the candidates of a choice are split and hashed once in a run and not once a step.
The directory is a cache: it is in no checkpoint and nothing depends on it. A ROW, with its columns,
a prompt gets when it is first planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gdro.core.errors import PromptIdError, StateError
from gdro.core.hashing import Keys, prompt_key
from gdro.core.state import ANY, State, read_array, read_state
from gdro.core.types import Ints

GROWTH = 1.25
SEPARATOR = "/"


def source_of(prompt_id: str) -> str:
    """Where a prompt comes from: its id up to the last "/"; "" without one."""
    return prompt_id.rpartition(SEPARATOR)[0]


class IdSubset(Sequence[str]):
    """The ids at some places of a tuple of which subsets are offered again and again: of a training
    set. A table finds each of its ids once in a run, and not once a subset.

    Args:
        whole: (N,) all ids; a table remembers the tuple itself, so that it must be the same one.
        places: (M,) into it.
    """

    __slots__ = ("places", "whole")

    def __init__(self, whole: tuple[str, ...], places: Ints) -> None:
        self.whole, self.places = whole, places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return list(map(self.whole.__getitem__, self.places[place].tolist()))
        return self.whole[int(self.places[place])]

    def __iter__(self) -> Iterator[str]:
        return map(self.whole.__getitem__, self.places.tolist())


@dataclass(frozen=True, slots=True)
class Prompts:
    """M different prompts, looked up.

    Attributes:
        ids: (M,); of `look_up_subset` the subset itself.
        places: (M,) in the directory.
        rows: (M,) in the table; -1 for a prompt that was never planned.
        keys: (M,) uint64, the hash of each id.
        sources: (M,) place of each prompt's source among the table's; -1 for a source never
            planned.
        groups: (M,) equal numbers for prompts of the same source, also of one without a place.
    """

    ids: Sequence[str]
    places: Ints
    rows: Ints
    keys: Keys
    sources: Ints
    groups: Ints

    def __len__(self) -> int:
        return len(self.ids)

    def source_sizes(self) -> Ints:
        """(M,) how many of these prompts come from the same source."""
        return np.bincount(self.groups)[self.groups]


class PromptTable:
    """The directory of ids, and columns of numbers with one row a planned prompt.

    Attributes:
        ids: of the planned prompts, in row order.
        sources: names of their sources, in the order in which they were first planned.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.sources: list[str] = []
        self._columns: dict[str, NDArray[Any]] = {}
        self._defaults: dict[str, Any] = {}
        self.add_column("key", np.uint64, 0)
        self._places: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._row = np.empty(0, np.int32)
        self._key = np.empty(0, np.uint64)
        self._group = np.empty(0, np.int32)
        self._mark = np.empty(0, np.int32)  # scratch of `look_up`
        self._source_of_group = np.empty(0, np.int64)
        self._whole: tuple[str, ...] = ()
        self._place_in_whole = np.empty(0, np.int32)  # -1 for an id that was never in a subset

    def __len__(self) -> int:
        return len(self.ids)

    def add_column(
        self, name: str, dtype: DTypeLike, default: float, width: int | None = None
    ) -> None:
        """Add a column (N,) or, with a width, (N, width), filled with its default."""
        shape = (0,) if width is None else (0, width)
        self._columns[name] = np.empty(shape, dtype)
        self._defaults[name] = default

    def column(self, name: str) -> NDArray[Any]:
        """A writable view of a column's rows in use; invalid after the next `admit` of new
        prompts."""
        return self._columns[name][: len(self.ids)]

    def read(self, name: str, rows: Ints) -> NDArray[Any]:
        """(M,) a column at these rows; its default for a row of -1."""
        column = self.column(name)
        if not len(column):
            return np.full(len(rows), self._defaults[name], column.dtype)
        values = column[rows]
        values[rows < 0] = self._defaults[name]
        return values

    @property
    def bytes_per_prompt(self) -> int:
        """Bytes of all columns for one prompt, without the id and the directory."""
        return sum(
            column.itemsize * int(np.prod(column.shape[1:], dtype=np.int64))
            for column in self._columns.values()
        )

    def look_up(self, prompt_ids: Sequence[str]) -> Prompts:
        """Find prompts; changes no state.

        Raises:
            PromptIdError: an empty batch, or an id that is empty, not a string, or there twice.
        """
        ids = _listed(prompt_ids)
        return self._different(ids, self._found(ids))

    def look_up_subset(self, subset: IdSubset) -> Prompts:
        """As `look_up`, of a subset of the tuple that most subsets are of."""
        if self._whole is not subset.whole:
            self._whole = subset.whole
            self._place_in_whole = np.full(len(subset.whole), -1, np.int32)
        places = self._place_in_whole[subset.places].astype(np.int64)
        new = np.flatnonzero(places < 0)
        if new.size or not len(subset):
            of_new = subset.places[new]
            try:
                places[new] = self._found(_listed(IdSubset(subset.whole, of_new)))
            except PromptIdError:
                check_ids(subset)  # which says where in the batch
                raise
            self._place_in_whole[of_new] = places[new]
        return self._different(subset, places)

    def count_sources(self, prompts: Prompts) -> dict[str, int]:
        """How many of these prompts come from each of their sources."""
        counts = np.bincount(prompts.groups).tolist()
        return {name: n for name, n in zip(self._groups, counts, strict=False) if n}

    def admit(self, prompts: Prompts) -> Prompts:
        """The same prompts, each with a row and each source with a place; what is new takes the
        next free ones."""
        fresh = np.flatnonzero(prompts.rows < 0)
        if not fresh.size:
            return prompts
        known = len(self.ids)
        self._grow_columns(known, known + len(fresh))
        self.ids.extend(prompts.ids[place] for place in fresh.tolist())
        self._row[prompts.places[fresh]] = np.arange(known, known + len(fresh))
        self._columns["key"][known : known + len(fresh)] = prompts.keys[fresh]
        unplaced = np.flatnonzero(prompts.sources < 0).tolist()
        for name in sorted({source_of(prompts.ids[place]) for place in unplaced}):
            self._source_of_group[self._groups[name]] = len(self.sources)
            self.sources.append(name)
        return self._prompts(prompts.ids, prompts.places)

    def of_rows(self, rows: Ints) -> Prompts:
        """The planned prompts of these rows."""
        ids = tuple(self.ids[row] for row in rows.tolist())
        return self._prompts(ids, self._places_of(ids))

    def _found(self, ids: tuple[str, ...]) -> Ints:
        """(M,) places in the directory, where ids that are new get one; raises as `check_ids`."""
        try:
            return self._places_of(ids)
        except (KeyError, TypeError):  # an id that is new, or that cannot be a key of a dictionary
            check_ids(ids)
            self._meet(prompt_id for prompt_id in ids if prompt_id not in self._places)
            return self._places_of(ids)

    def _different(self, ids: Sequence[str], places: Ints) -> Prompts:
        """The prompts at these places; raises PromptIdError where one is there twice."""
        order = np.arange(len(places), dtype=np.int32)
        self._mark[places] = order
        if not np.array_equal(self._mark[places], order):
            check_ids(ids)
        return self._prompts(ids, places)

    def _places_of(self, ids: tuple[str, ...]) -> Ints:
        """Places in the directory; KeyError for an id that is not there."""
        if not ids:
            return np.empty(0, np.int64)
        # one call in C for all ids: a third faster than a call an id, and this is most of a choice
        found = itemgetter(*ids)(self._places)
        return np.fromiter(found if len(ids) > 1 else (found,), np.int64, len(ids))

    def _prompts(self, ids: Sequence[str], places: Ints) -> Prompts:
        groups = self._group[places].astype(np.int64)
        rows = self._row[places].astype(np.int64)
        return Prompts(ids, places, rows, self._key[places], self._source_of_group[groups], groups)

    def _meet(self, fresh: Iterable[str], keys: Keys | None = None) -> None:
        """Give ids that are new to the directory a place there."""
        names = list(fresh)
        known, count = len(self._places), len(self._places) + len(names)
        self._row = _grown(self._row, known, count, -1)
        self._key = _grown(self._key, known, count, 0)
        self._group = _grown(self._group, known, count, 0)
        self._mark = _grown(self._mark, known, count, 0)
        self._places.update(zip(names, range(known, count), strict=True))
        self._key[known:count] = [prompt_key(name) for name in names] if keys is None else keys
        groups, met = self._groups, len(self._groups)
        self._group[known:count] = [
            groups.setdefault(source_of(name), len(groups)) for name in names
        ]
        self._source_of_group = _grown(self._source_of_group, met, len(groups), -1)

    def _grow_columns(self, known: int, needed: int) -> None:
        for name, column in self._columns.items():
            self._columns[name] = _grown(column, known, needed, self._defaults[name])

    def state_dict(self) -> State:
        """Ids as one text with their lengths, the sources, and every column, cut to the rows in
        use."""
        lengths = np.fromiter(map(len, self.ids), np.int32, len(self.ids))
        text = "".join(self.ids).encode("utf-8", "surrogatepass")
        columns = {name: self.column(name).copy() for name in self._columns}
        return {
            "ids": np.frombuffer(text, np.uint8),
            "id_lengths": lengths,
            "sources": list(self.sources),
            "columns": columns,
        }

    def load_state_dict(self, state: State) -> None:
        """Replace the whole table.

        Raises:
            StateError: the columns are not this table's, or lengths or sources do not fit the ids.
        """
        ids = _split_ids(state)
        saved = read_state(state, "columns")
        columns = {
            name: read_array(saved, name, column, rows=len(ids))
            for name, column in self._columns.items()
        }
        sources = state.get("sources")
        if not isinstance(sources, list) or sorted(sources) != sorted(set(map(source_of, ids))):
            raise StateError("state key 'sources' does not fit 'ids'; load an older checkpoint")
        self._places, self._groups, self._source_of_group = {}, {}, np.empty(0, np.int64)
        self._whole = ()
        self._columns, self.ids, self.sources = columns, ids, sources
        self._meet(ids, columns["key"])
        self._row[: len(ids)] = np.arange(len(ids))
        self._source_of_group[[self._groups[name] for name in sources]] = np.arange(len(sources))


def _grown(column: NDArray[Any], known: int, needed: int, default: Any) -> NDArray[Any]:
    """The column with room for `needed` rows, of which the first `known` are in use."""
    if len(column) >= needed:
        return column
    capacity = max(needed, int(len(column) * GROWTH), 64)
    grown = np.full((capacity, *column.shape[1:]), default, column.dtype)
    grown[:known] = column[:known]
    return grown


def _split_ids(state: State) -> list[str]:
    """The ids of a saved table; raises StateError when text and lengths do not fit each other."""
    packed = read_array(state, "ids", np.empty(0, np.uint8), rows=ANY)
    lengths = read_array(state, "id_lengths", np.empty(0, np.int32), rows=ANY)
    try:
        text = packed.tobytes().decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise StateError(
            f"state key 'ids' is damaged ({error}); load an older checkpoint"
        ) from None
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = (ends - lengths).tolist()
    ids = [text[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]
    fits = int(lengths.sum(dtype=np.int64)) == len(text) and len(set(ids)) == len(ids)
    if (lengths < 1).any() or not fits:
        raise StateError("state key 'id_lengths' does not fit 'ids'; load an older checkpoint")
    return ids


def _listed(prompt_ids: Sequence[str]) -> tuple[str, ...]:
    """The ids as a tuple that is not empty; raises PromptIdError."""
    if isinstance(prompt_ids, str):
        raise PromptIdError(f"prompt_ids is the single string {prompt_ids!r}; give a list of ids")
    try:
        ids = tuple(prompt_ids)
    except TypeError:
        raise PromptIdError(f"prompt_ids is {prompt_ids!r}; give a list of ids") from None
    if not ids:
        raise PromptIdError("the batch holds no prompt id; plan at least one prompt")
    return ids


def check_ids(prompt_ids: Sequence[str]) -> tuple[str, ...]:
    """The ids of one batch, checked.

    Raises:
        PromptIdError: an empty batch, or an id that is empty, not a string, or there twice.
    """
    ids = _listed(prompt_ids)
    if set(map(type, ids)) != {str} or not all(ids):
        for place, prompt_id in enumerate(ids):
            if not isinstance(prompt_id, str) or not prompt_id:
                raise PromptIdError(
                    f"prompt id number {place} is {prompt_id!r}; ids are non-empty strings"
                )
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise PromptIdError(
            f"prompt id {twice!r} is in the batch twice; every prompt of a batch has its own id"
        )
    return ids
