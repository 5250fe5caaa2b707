"""Stable prompt ids: where a run's ids come from, and ids made of a row's content."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, Literal

from accelerate.logging import get_logger
from datasets import Dataset, IterableDataset

from gdro.core.errors import OptionError, PromptIdError
from gdro.engines.trl.batch import PromptBatch, Row, blocks

PROMPT = "prompt"
"""TRL's column of what is asked."""
CONTENT_SOURCE = "data"
"""Source of the ids of a data set that has none."""

logger = get_logger(__name__)


class PromptIds:
    """What names the prompts of a run.

    - `column`: the data set's own ids, text or whole numbers;
    - `content`: it has none, so ids are made of each row's content;
    - `environment`: there is no data set. An environment makes every prompt anew, so each is new.

    Args:
        dataset: the training set as given to the trainer; None where an environment owns the data.
        column: name of the id column.

    Attributes:
        dataset: the training set with its ids.

    Raises:
        PromptIdError: an id that is none, or one that occurs twice.
    """

    def __init__(self, dataset: Any, column: str) -> None:
        self.column = column
        self._asked: Any = None
        self.kind: Literal["column", "content", "environment"] = "column"
        self.dataset = dataset
        if dataset is None:
            self.kind = "environment"
        elif isinstance(dataset, Dataset) and column in dataset.column_names:
            _require_unique(text_ids(dataset[column], column), column)
        elif isinstance(dataset, (Dataset, IterableDataset)) and column not in _columns(dataset):
            self.kind = "content"
            self.dataset = dataset.map(_adds_id(CONTENT_SOURCE, column))
            if isinstance(dataset, Dataset):
                self.dataset = _told_apart(self.dataset, column)
            logger.warning(
                f"The training set has no column {column!r}: each prompt is named by its content,"
                " all of one source. Name yours with GDROConfig(id_column=...), or by"
                " gdro.engines.trl.with_ids(dataset, 'my-source')."
            )

    @property
    def can_choose(self) -> bool:
        """Whether rows can be had by place, so that prompts beside a batch's own can be offered."""
        return isinstance(self.dataset, Dataset)

    def all(self) -> list[str]:
        """(N,) ids of a data set that can be indexed."""
        return text_ids(self.dataset[self.column], self.column)

    @property
    def have_texts(self) -> bool:
        """Whether the rows say what is asked; else an environment says it, after the plan."""
        return self.kind != "environment" and PROMPT in _columns(self.dataset)

    def prompts(self, places: Sequence[int]) -> list[Any]:
        """What some rows of a data set that can be indexed ask; empty where an environment says
        it."""
        if not self.have_texts:
            return [""] * len(places)
        if self._asked is None:
            self._asked = self.dataset.select_columns(PROMPT).with_format(None)
        return list(self._asked[list(places)][PROMPT])

    def batch(self, rows: Sequence[Row], num_generations: int, number: int) -> PromptBatch:
        """The prompts of a generation batch's rows.

        Args:
            number: of the batch in the run.

        Raises:
            PromptIdError: a row without an id, one that comes twice (of a stream: a data set that
                can be indexed was looked at before), or rows that are not in blocks of one prompt.
        """
        if self.kind == "environment":
            prompts = rows[::num_generations]
            first = number * len(prompts)
            ids = [f"environment/{first + place}" for place in range(len(prompts))]
            return PromptBatch(tuple(ids), tuple(prompts))
        if rows and self.column not in rows[0]:
            raise PromptIdError(
                f"a row of the training set has no column {self.column!r} (columns: "
                f"{', '.join(rows[0])}); every prompt needs its own id"
            )
        batch = blocks(
            rows, text_ids([row[self.column] for row in rows], self.column), num_generations
        )
        if self.kind == "content":
            return PromptBatch(tuple(_numbered(batch.ids)), batch.rows)
        if repeated := _repeated(batch.ids):
            raise PromptIdError(
                f"prompt id {repeated[0]!r} of column {self.column!r} is twice among the"
                f" {len(batch.ids)} prompts of a batch; ids must be unique"
            )
        return batch


def with_ids(dataset: Any, source: str, *, column: str = "id") -> Any:
    """Add ids made from the content: `source/` and 16 hex digits of the row's SHA-256.

    All columns count, sorted by name. The same row gets the same id in every process and every run,
    whatever its place in the data set. An image counts by its pixels. A streamed data set gets its
    ids while it is read.

    Args:
        dataset: a `datasets.Dataset` or `IterableDataset`.

    Raises:
        PromptIdError: the column is already there, two rows are equal, or a column holds something
            without a content of its own to go by.
        OptionError: the source is blank or ends in "/", or the data set is of another kind.
    """
    if not source.strip() or source.endswith("/"):
        raise OptionError(
            f"source={source!r} names what the prompts come from, such as 'gsm8k'; it may not be"
            " blank or end in '/'"
        )
    if not isinstance(dataset, (Dataset, IterableDataset)):
        raise OptionError(
            f"with_ids takes a datasets.Dataset or IterableDataset, not a {type(dataset).__name__}:"
            " make one by Dataset.from_list"
        )
    if column in _columns(dataset):
        raise PromptIdError(
            f"the dataset already has a column {column!r}; use it, or give another column="
        )
    named = dataset.map(_adds_id(source, column))
    if isinstance(named, Dataset):
        ids = list(named[column])
        if repeated := _repeated(ids):
            first = ids.index(repeated[0])
            raise PromptIdError(
                f"rows {first} and {ids.index(repeated[0], first + 1)} are equal, so they have one"
                f" id ({len(ids) - len(set(ids))} rows repeat another); drop the duplicates first,"
                " or give a column that tells them apart"
            )
    return named


def text_ids(values: Iterable[object], column: str) -> list[str]:
    """Ids as text; a whole number is its own text.

    Raises:
        PromptIdError: a value that names nothing.
    """
    ids = []
    for place, value in enumerate(values):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole and (not isinstance(value, str) or not value):
            raise PromptIdError(
                f"row {place}: column {column!r} holds {value!r}; a prompt id is a text that is not"
                " empty, or a whole number"
            )
        ids.append(str(value))
    return ids


def _require_unique(ids: list[str], column: str) -> None:
    if repeated := _repeated(ids):
        first = ids.index(repeated[0])
        raise PromptIdError(
            f"prompt id {repeated[0]!r} occurs more than once in column {column!r} ({len(repeated)}"
            f" ids do), first in rows {first} and {ids.index(repeated[0], first + 1)}; ids must be"
            " unique"
        )


def _columns(dataset: Any) -> list[str]:
    """Column names, of a stream that does not know them from its first row."""
    if dataset.column_names is not None:
        return list(dataset.column_names)
    return list(next(iter(dataset), {}))


def _adds_id(source: str, column: str) -> Callable[[Row], dict[str, str]]:
    def add(row: Row) -> dict[str, str]:
        text = json.dumps(dict(row), sort_keys=True, ensure_ascii=False, default=_content)
        return {column: f"{source}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"}

    return add


def _told_apart(dataset: Dataset, column: str) -> Dataset:
    """Equal rows get ids of their own, by the order in which they come."""
    ids = list(dataset[column])
    if not _repeated(ids):
        return dataset
    return dataset.remove_columns(column).add_column(column, _numbered(ids))


def _numbered(ids: Sequence[str]) -> list[str]:
    """The ids, with ~2, ~3 ... after those that came before."""
    seen: Counter[str] = Counter()
    out = []
    for prompt_id in ids:
        seen[prompt_id] += 1
        out.append(prompt_id if seen[prompt_id] == 1 else f"{prompt_id}~{seen[prompt_id]}")
    return out


def _content(value: object) -> object:
    """What stands for a value that JSON has no form for."""
    # A PIL image, whose package may not be installed, so its class cannot be asked for.
    if all(hasattr(value, name) for name in ("mode", "size", "tobytes")):
        image: Any = value
        return [image.mode, list(image.size), hashlib.sha256(image.tobytes()).hexdigest()]
    if isinstance(value, (bytes, date, time, timedelta, Decimal)):
        return str(value)
    raise PromptIdError(
        f"a row holds a {type(value).__name__}, which has no content that is the same in every run;"
        " name the prompts yourself, in a column of unique ids, or remove that column first"
    )


def _repeated(ids: Iterable[str]) -> list[str]:
    """The ids that occur more than once, in the order of their first places."""
    return [value for value, count in Counter(ids).items() if count > 1]
