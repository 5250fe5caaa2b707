"""Parquet files, as verl lays them out, -> prompts. Columns are plain values; nothing is ever
unpickled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gdro.core.errors import DataError
from gdro.data.chat import Shape
from gdro.data.jsonl import open_file
from gdro.data.prompts import Prompt
from gdro.data.rows import Columns, to_prompt

VERL_COLUMNS = Columns("prompt", "reward_model.ground_truth", "extra_info.index", "data_source")
BATCH_ROWS = 1024


def read_parquet(
    path: str | Path,
    columns: Columns = VERL_COLUMNS,
    shape: Shape | None = None,
    source: str | None = None,
) -> Iterator[tuple[int, Prompt]]:
    """The row number (from 1) and Prompt of every row, in order.

    Args:
        path: the file.
        columns: where to look; default verl's layout, which gives ids
            `<data_source>/<extra_info.index>`.
        shape: applied to plain-text prompts.
        source: name of the source, whatever the rows say; default theirs where `columns.source`
            is given, else the file's name without its ending.

    Raises:
        DataError: not a parquet file, a column is missing, no rows, or a row is malformed.
    """
    path, columns = Path(path), columns.with_source(source)
    shape, source = shape or Shape(), path.stem if source is None else source
    number = 0
    for row in parquet_rows(path, columns):
        number += 1
        yield number, to_prompt(row, columns, shape, source, f"{path}, row {number}")
    if number == 0:
        raise DataError(f"{path}: the file has no rows; give a file with prompts")


def parquet_rows(path: Path, columns: Columns | None = None) -> Iterator[dict[str, Any]]:
    """Every row with the columns needed, or with all of them; raises DataError as
    `read_parquet`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = 0
    with open_file(path) as file:
        try:
            table = pq.ParquetFile(file)
            names = None if columns is None else _top_columns(table.schema_arrow, columns, path)
            for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=names):
                rows = batch.to_pylist()
                yield from rows
                done += len(rows)
        except DataError:
            raise
        except UnicodeDecodeError as error:
            where = f"rows {done + 1} to {done + BATCH_ROWS}"
            raise DataError(
                f"{path}, {where}: text that is not UTF-8; write the file again"
            ) from error
        except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{path}: not a readable parquet file ({reason}); write it again"
            ) from error


def _top_columns(schema: Any, columns: Columns, path: Path) -> list[str]:
    """The file's columns that are needed; a DataError for one that is missing."""
    needed = []
    for name in columns.names():
        top = name if name in schema.names else name.partition(".")[0]
        if schema.names.count(top) != 1:
            has = "twice" if top in schema.names else f"not; it has {', '.join(schema.names[:12])}"
            raise DataError(f"{path}: column {name!r} must be there once, the file has it {has}")
        needed.append(top)
    return list(dict.fromkeys(needed))
