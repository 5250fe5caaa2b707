"""Stable prompt ids for a dataset."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from datasets import Dataset, IterableDataset

from gdro.core.errors import OptionError, PromptIdError
from gdro.engines.trl.batch import missing_column


def with_ids(dataset: Dataset, source: str, *, column: str = "id") -> Dataset:
    """Add ids made from the content: `source/` and 16 hex digits of the row's SHA-256 (all columns, sorted).

    The same row gets the same id in every process and every run, whatever its place in the dataset. An image counts by
    its pixels.

    Raises:
        PromptIdError: the column is already there, two rows are equal, or a column holds something without a content of
            its own to go by.
        OptionError: the source is blank or ends in "/", or the dataset is no `datasets.Dataset`.
    """
    if not source.strip() or source.endswith("/"):
        raise OptionError(
            f"source={source!r} names what the prompts come from, such as 'gsm8k'; it may not be blank or end in '/'"
        )
    if not isinstance(dataset, Dataset):
        raise OptionError(
            f"with_ids takes a datasets.Dataset, not a {type(dataset).__name__}: load it with streaming=False, or make "
            "one by Dataset.from_list"
        )
    if column in dataset.column_names:
        raise PromptIdError(f"the dataset already has a column {column!r}; use it, or give another column=")

    def add(row: dict[str, object]) -> dict[str, str]:
        content = json.dumps(dict(row), sort_keys=True, ensure_ascii=False, default=_content).encode()
        return {column: f"{source}/{hashlib.sha256(content).hexdigest()[:16]}"}

    named = dataset.map(add, desc="Prompt ids")
    ids = list(named[column])
    if repeated := _repeated(ids):
        first = ids.index(repeated[0])
        raise PromptIdError(
            f"rows {first} and {ids.index(repeated[0], first + 1)} are equal, so they have one id "
            f"({len(ids) - len(set(ids))} rows repeat another); drop the duplicates first, or give a column that tells "
            "them apart"
        )
    return named


def _content(value: object) -> object:
    """What stands for a value that JSON has no form for."""
    if all(hasattr(value, name) for name in ("mode", "size", "tobytes")):  # a PIL image, which may not be installed
        image: Any = value
        return [image.mode, list(image.size), hashlib.sha256(image.tobytes()).hexdigest()]
    if isinstance(value, (bytes, date, time, timedelta, Decimal)):
        return str(value)
    raise PromptIdError(
        f"a row holds a {type(value).__name__}, which has no content that is the same in every run; name the prompts "
        "yourself, in a column of unique ids, or remove that column first"
    )


def _repeated(ids: Iterable[str]) -> list[str]:
    """The ids that occur more than once, in the order of their first places."""
    return [value for value, count in Counter(ids).items() if count > 1]


def require_ids(dataset: object, column: str) -> None:
    """Raise a PromptIdError unless every row has an id of its own; OptionError for a streamed dataset."""
    if isinstance(dataset, IterableDataset):
        raise OptionError(
            "GDROTrainer needs a dataset it can index (datasets.Dataset), not a stream: ids are checked before "
            "training and a resumed run jumps to its place. Load it with streaming=False"
        )
    if not isinstance(dataset, Dataset):
        return
    if column not in dataset.column_names:
        raise PromptIdError(missing_column(column, dataset.column_names))
    ids = dataset[column]
    for index, value in enumerate(ids):
        if not isinstance(value, str) or not value:
            raise PromptIdError(
                f"row {index}: column {column!r} holds {value!r}; a prompt id is a string that is not empty"
            )
    if repeated := _repeated(ids):
        raise PromptIdError(
            f"prompt id {repeated[0]!r} occurs more than once ({len(repeated)} ids do); ids must be unique"
        )
