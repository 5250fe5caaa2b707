"""Raw rows: files, folders with subsets and splits, csv, and what is refused."""

import json
from pathlib import Path

import pytest

from gdro.core.errors import DataError
from gdro.data.raw import read_raw


def _write(path: Path, *values: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"x": value}) + "\n" for value in values), encoding="utf-8")


def _values(*arguments: str | Path) -> list[int]:
    return [row["x"] for _, row in read_raw(*map(str, arguments))]


def test_a_folder_gives_the_subset_and_split_asked_for(tmp_path: Path) -> None:
    _write(tmp_path / "en" / "train-0.jsonl", 1)
    _write(tmp_path / "en" / "test-0.jsonl", 2)
    _write(tmp_path / "cn" / "train-0.jsonl", 3)
    assert _values(tmp_path, "en", "train") == [1]
    assert _values(tmp_path, "en", "test") == [2]
    assert _values(tmp_path / "cn" / "train-0.jsonl") == [3]


def test_csv_with_line_breaks_in_cells(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('x,y\n1,"two\nlines"\n', encoding="utf-8")
    assert list(read_raw(tmp_path / "a.csv")) == [
        (f"{tmp_path}/a.csv, row 1", {"x": "1", "y": "two\nlines"})
    ]


@pytest.mark.parametrize("text", ["x,y\n1\n", "x,y\n1,2,3\n", 'x\n"1\n'])
def test_bad_csv_is_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv"):
        list(read_raw(tmp_path / "a.csv"))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file in this folder"):
        list(read_raw(tmp_path))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="must end in one of"):
        list(read_raw(tmp_path / "a.txt"))
    _write(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match="has no rows"):
        list(read_raw(tmp_path / "empty.jsonl"))
