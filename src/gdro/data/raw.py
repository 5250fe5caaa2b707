"""Rows as they lie in a file, a folder or on the hub, before anyone knows what their columns
mean."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gdro.core.errors import DataError
from gdro.data.hub import load_split
from gdro.data.jsonl import objects, open_file
from gdro.data.parquet import parquet_rows

SUFFIXES = (".parquet", ".jsonl", ".csv")
Row = tuple[str, Mapping[str, Any]]
"""The row's place, for errors, and its columns."""


def read_raw(source: str | Path, name: str | None = None, split: str = "train") -> Iterator[Row]:
    """Every row, in order.

    Args:
        source: a parquet, jsonl or csv file; a folder of such files; a folder written by
            `save_to_disk`; or a name on the hub.
        name: the subset.
        split: the split. Of several files in a folder, those are taken that, or whose folder, begin
            with the subset's name, and of these those that begin with the split's.

    Raises:
        DataError: nothing is there, it cannot be read, or it has no row.
    """
    path = Path(source).expanduser()
    rows = (
        _files(_chosen(path, name, split)) if _has_files(path) else _hub(str(source), name, split)
    )
    empty = True
    for row in rows:
        empty = False
        yield row
    if empty:
        raise DataError(f"{source}: has no rows")


def _has_files(path: Path) -> bool:
    if path.is_file():
        return True
    saved = (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()
    return path.is_dir() and not saved


def _chosen(path: Path, name: str | None, split: str) -> list[Path]:
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise DataError(f"{path}: must end in one of {', '.join(SUFFIXES)}")
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if not files:
        raise DataError(f"{path}: no file in this folder ends in one of {', '.join(SUFFIXES)}")
    for wanted in (name, split):
        if wanted is not None and len(files) > 1:
            files = _matching(files, path, wanted)
    return files


def _matching(files: list[Path], path: Path, wanted: str) -> list[Path]:
    """The files with a folder, or a name, that begins with `wanted`."""
    found = [
        file
        for file in files
        if any(part.startswith(wanted) for part in file.relative_to(path).parts)
    ]
    if not found:
        names = ", ".join(str(file.relative_to(path)) for file in files[:8])
        raise DataError(
            f"{path}: of its files ({names}) none is of {wanted!r}; name the file itself"
        )
    return found


def _files(files: list[Path]) -> Iterator[Row]:
    for file in files:
        read = {".parquet": _parquet, ".jsonl": _jsonl, ".csv": _csv}[file.suffix]
        yield from read(file)


def _parquet(path: Path) -> Iterator[Row]:
    for number, row in enumerate(parquet_rows(path), start=1):
        yield f"{path}, row {number}", row


def _jsonl(path: Path) -> Iterator[Row]:
    with open_file(path, packed=True) as file:
        for number, row in objects(file, path):
            yield f"{path}, row {number}", row


def _csv(path: Path) -> Iterator[Row]:
    open_file(path).close()
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            for number, row in enumerate(csv.DictReader(file, strict=True), start=1):
                if None in row or None in row.values():
                    raise DataError(
                        f"{path}, row {number}: has another number of cells than the header"
                    )
                yield f"{path}, row {number}", row
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not readable as UTF-8 csv with a header ({error})") from error


def _hub(source: str, name: str | None, split: str) -> Iterator[Row]:
    where = f"dataset {source}{f' ({name})' if name else ''}, split {split}"
    for number, row in enumerate(load_split(source, name, split, where), start=1):
        yield f"{where}, row {number}", row
