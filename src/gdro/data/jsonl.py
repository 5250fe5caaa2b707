"""jsonl files -> prompts: one JSON object a line, UTF-8; lines of white space only are passed
over."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from gdro.core.errors import DataError
from gdro.data.chat import Shape
from gdro.data.prompts import Prompt, shown
from gdro.data.rows import Columns, to_prompt

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
}
"""First bytes of packed files."""
MAX_LINE_BYTES = 16 * 2**20
"""Longest line read; a prompt is far shorter, and a file of one endless line must not fill the
memory."""


def read_jsonl(
    path: str | Path,
    columns: Columns | None = None,
    shape: Shape | None = None,
    source: str | None = None,
) -> Iterator[tuple[int, Prompt]]:
    """The line number and Prompt of every line, in order.

    Args:
        path: the file.
        columns: where to look; default `prompt`, `answer`, and `id` and `source` if the first row
            has them (then every row must).
        shape: applied to plain-text prompts.
        source: name of the source, whatever the rows say; default theirs, or the file's name
            without its ending.

    Raises:
        DataError: the file cannot be read, holds no row, or a row is malformed.
    """
    path = Path(path)
    columns, shape = (columns or Columns()).with_source(source), shape or Shape()
    free = ["id"] if columns.id is None else []
    if source is None:
        free += ["source"] if columns.source is None else []
        source = path.name.removesuffix(".gz").rpartition(".")[0] or path.stem
    first, absent = True, list[str]()
    with open_file(path, packed=True) as file:
        for number, row in objects(file, path):
            place = f"{path}, row {number}"
            if first:
                present = [name for name in free if name in row]
                columns = _with_present(columns, present)
                absent = [name for name in free if name not in present]
            _check_absent(row, absent, place)
            first = False
            yield number, to_prompt(row, columns, shape, source, place)
    if first:
        raise DataError(f"{path}: the file has no rows; give a file of one JSON object a line")


def open_file(path: Path, *, packed: bool = False) -> BinaryIO:
    """`path` opened for reading bytes; `~` is the home folder.

    Args:
        path: the file.
        packed: a gzip file is unpacked while it is read.

    Raises:
        DataError: it cannot be read, or is packed in a way that is not unpacked here.
    """
    path = path.expanduser()
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name the file, or a list of files")
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read ({reason}); check the path") from error
    start = file.peek(6)
    kind = next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)
    if kind == "gzip" and packed:
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if kind is not None:
        file.close()
        raise DataError(f"{path}: is a {kind} file; unpack it first")
    if packed and start.startswith(b"PAR1"):
        file.close()
        raise DataError(
            f"{path}: is a parquet file; all files of a list are of one kind, by data.kind or the"
            " ending of the first"
        )
    return file


def _with_present(columns: Columns, present: list[str]) -> Columns:
    """`columns` with those of `id` and `source` that the first row has."""
    if "id" in present:
        columns = replace(columns, id="id")
    return replace(columns, source="source") if "source" in present else columns


def _check_absent(row: Mapping[str, Any], absent: list[str], place: str) -> None:
    """An id or source that only later rows have would make ids of two sorts."""
    for name in absent:
        if name in row:
            raise DataError(
                f"{place}: has {name!r}, but the first row has none; give it to every row or to"
                " none"
            )


def objects(file: BinaryIO, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The line number and object of every line; a DataError names the first bad line."""
    number = 0
    while line := _line(file, path):
        number += 1
        place = f"{path}, row {number}"
        if len(line) > MAX_LINE_BYTES:
            limit = MAX_LINE_BYTES // 2**20
            raise DataError(
                f"{place}: the line is longer than {limit} MiB; jsonl has one object a line, split"
                " it up"
            )
        text = _decoded(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, place)
        if text.strip():
            yield number, _object(text, place)


def _line(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.readline(MAX_LINE_BYTES + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: breaks off or is damaged ({error}); copy it again") from error


def _decoded(line: bytes, place: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place}: not UTF-8 at byte {error.start} of the line; save the file as UTF-8"
        ) from error


def _object(text: str, place: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except RecursionError as error:
        raise DataError(f"{place}: nested too deeply; a row is a flat object") from error
    except ValueError as error:
        raise DataError(
            f"{place}: not valid JSON ({error}); write one JSON object a line"
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"{place}: holds {shown(value)}; write one JSON object a line")
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {shown(twice)} is given twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
