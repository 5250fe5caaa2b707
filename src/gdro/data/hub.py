"""A Hugging Face dataset, by hub name or local folder, -> prompts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gdro.core.errors import DataError
from gdro.data.chat import Shape
from gdro.data.prompts import Prompt
from gdro.data.rows import Columns, to_prompt


def read_hub(
    path: str,
    name: str | None = None,
    split: str = "train",
    columns: Columns | None = None,
    shape: Shape | None = None,
    source: str | None = None,
) -> Iterator[tuple[int, Prompt]]:
    """The row number (from 1) and Prompt of every row of one split, in order.

    Args:
        path: a name on the hub, or a local folder (of data files, or written by `save_to_disk`).
        name: the subset.
        split: the split, e.g. `train` or `train[:1000]`.
        columns: where to look; default `prompt` and `answer`.
        shape: applied to plain-text prompts.
        source: name of the source, whatever the rows say; default theirs where `columns.source`
            is given, else the last part of `path`.

    Raises:
        DataError: the dataset, subset, split or a column is not there, it has no rows, or a row is
            malformed.
    """
    columns, shape = (columns or Columns()).with_source(source), shape or Shape()
    path = str(Path(path).expanduser()) if path.startswith("~") else path
    source = Path(path).name if source is None else source
    where = f"dataset {path}{f' ({name})' if name else ''}, split {split}"
    dataset = load_split(path, name, split, where)
    needed = _top_columns(dataset.column_names, columns, where)
    if len(dataset) == 0:
        raise DataError(f"{where}: has no rows; choose another split")
    for number, row in enumerate(dataset.select_columns(needed), start=1):
        yield number, to_prompt(row, columns, shape, source, f"{where}, row {number}")


def load_split(path: str, name: str | None, split: str, where: str) -> Any:
    """One split as a `datasets.Dataset`; `where` names it in errors. Raises DataError as
    `read_hub`."""
    import datasets
    from datasets.exceptions import DatasetsError

    if path == "pandas":
        raise DataError(
            f"{where}: the loader `pandas` reads pickles, which can run code; use parquet or jsonl"
        )
    try:
        if (Path(path) / "state.json").is_file() or (Path(path) / "dataset_dict.json").is_file():
            return _saved(datasets.load_from_disk(path), split, where)
        return datasets.load_dataset(path, name, split=split)
    except DataError:
        raise
    except (DatasetsError, OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{where}: cannot be loaded ({reason}); check path, name, split and the network"
        ) from error


def _saved(saved: Any, split: str, where: str) -> Any:
    """The split of a folder written by `save_to_disk`, `train[:5]` too; one saved without a name is
    `train`."""
    import datasets

    parts = saved if isinstance(saved, dict) else {str(saved.split or "train"): saved}
    try:
        wanted = datasets.ReadInstruction.from_spec(split).to_absolute(
            {name: len(part) for name, part in parts.items()}
        )
    except (ValueError, AssertionError) as error:
        raise DataError(
            f"{where}: no such split; the folder has {', '.join(map(str, parts))}"
        ) from error
    cut = [parts[part.splitname].select(range(part.from_, part.to)) for part in wanted]
    return cut[0] if len(cut) == 1 else datasets.concatenate_datasets(cut)


def _top_columns(known: list[str], columns: Columns, where: str) -> list[str]:
    needed = [name if name in known else name.partition(".")[0] for name in columns.names()]
    for name, top in zip(columns.names(), needed, strict=True):
        if top not in known:
            raise DataError(f"{where}: no column {name!r}; it has {', '.join(known[:12])}")
    return list(dict.fromkeys(needed))
