"""Files of rows: jsonl, and raw rows of files, of folders with subsets and splits, and of csv."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gdro.core.errors import DataError
from gdro.data.jsonl import MAX_LINE_BYTES, read_jsonl
from gdro.data.raw import read_raw
from gdro.data.rows import Columns, content_hash

GOOD = b'{"prompt": "p", "answer": "a"}\n'


def write(path: Path, *rows: Any) -> Path:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def test_rows_with_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\n  \r\n" + '{"prompt": "ü", "answer": 2}'.encode())
    rows = list(read_jsonl(path))
    assert [number for number, _ in rows] == [1, 4]
    assert [prompt.id for _, prompt in rows] == [
        f"sums/{content_hash('p')}",
        f"sums/{content_hash('ü')}",
    ]
    assert rows[1][1].answer == "2"


def test_ids_do_not_depend_on_position(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "answer": i} for i in range(5)]
    ids = {prompt.id for _, prompt in read_jsonl(write(tmp_path / "a.jsonl", *rows))}
    assert ids == {
        prompt.id for _, prompt in read_jsonl(write(tmp_path / "a.jsonl", *reversed(rows)))
    }


def test_id_and_source_of_the_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "p", "answer": "a", "id": 7, "source": "s"})
    assert next(read_jsonl(path))[1].id == "s/7"
    assert next(read_jsonl(path, source="other"))[1].id == "other/7", "it is asked for by name"


def test_named_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"q": "p", "gold": {"final": 1.0}, "uid": "x", "id": None})
    prompt = next(read_jsonl(path, Columns("q", "gold.final", "uid"), source="mine"))[1]
    assert (prompt.id, prompt.answer) == ("mine/x", "1")


@pytest.mark.parametrize("name", ["id", "source"])
def test_an_id_only_some_rows_have_is_an_error(tmp_path: Path, name: str) -> None:
    without, with_it = {"prompt": "p", "answer": "a"}, {"prompt": "q", "answer": "a", name: "x"}
    with pytest.raises(
        DataError,
        match=f"row 2: has '{name}', but the first row has none|row 2: has '{name}', which",
    ):
        list(read_jsonl(write(tmp_path / "a.jsonl", without, with_it)))
    with pytest.raises(DataError, match=f"row 2: no column '{name}'"):
        list(read_jsonl(write(tmp_path / "a.jsonl", with_it, without)))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"nonsense\n", "not valid JSON"),
        (b"[1]\n", "write one JSON object a line"),
        (b'"text"\n', "write one JSON object a line"),
        (b"3\n", "write one JSON object a line"),
        (b'{"prompt": "p", "answer": NaN}\n', "NaN is not a JSON value"),
        (b'{"prompt": "p", "answer": 1e999}\n', "must be finite"),
        (b'{"prompt": "p", "answer": ' + b"9" * 5000 + b"}\n", "not valid JSON"),
        (b'{"prompt": "p", "answer": "a", "answer": "b"}\n', "'answer' is given twice"),
        (b'{"prompt": "\\ud800", "answer": "a"}\n', "half a character pair"),
        (b'{"prompt": "p\xff", "answer": "a"}\n', "not UTF-8 at byte 13"),
        (b'{"prompt": "p"', "not valid JSON"),
        (b'{"prompt": "p", "answer": null}\n', "answer is null"),
        (b'{"prompt": "p", "answer": true}\n', "answer is true/false"),
        (b'{"prompt": "", "answer": "a"}\n', "prompt is empty"),
        (b'{"question": "p", "answer": "a"}\n', "no column 'prompt'"),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        (b"\x80\x04\x95K.\n", "not UTF-8"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, line: bytes, what: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(GOOD + line)
    with pytest.raises(DataError, match=what) as caught:
        list(read_jsonl(path))
    assert str(caught.value).startswith(f"{path}, row 2: ")


def test_a_line_of_100_mb_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(GOOD)
        file.truncate(100 * 2**20)
    with pytest.raises(DataError, match="row 2: the line is longer than 16 MiB"):
        list(read_jsonl(path))
    assert MAX_LINE_BYTES == 16 * 2**20


def test_a_parquet_file_among_files_of_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "b.parquet"
    path.write_bytes(b"PAR1\x15\x04" * 4)
    with pytest.raises(DataError, match=r"b\.parquet: is a parquet file; .*data\.kind"):
        list(read_jsonl(path))


def test_gzip_is_read_and_other_packed_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD * 3))
    assert [prompt.data_source for _, prompt in read_jsonl(path)] == ["sums"] * 3
    path.write_bytes(gzip.compress(GOOD * 3)[:-12])
    with pytest.raises(DataError, match="breaks off or is damaged"):
        list(read_jsonl(path))
    for magic, name in ((b"PK\x03\x04", "zip"), (b"\x28\xb5\x2f\xfd", "zstandard")):
        path.write_bytes(magic + b"...")
        with pytest.raises(DataError, match=f"is a {name} file; unpack it first"):
            list(read_jsonl(path))


def test_home_and_whole_numbers_as_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    rows = [{"prompt": f"p{i}", "answer": 1, "id": i} for i in (7, 8.0)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [prompt.id for _, prompt in read_jsonl("~/a.jsonl")] == ["a/7", "a/8"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match=r"empty.jsonl: the file has no rows"):
        list(read_jsonl(tmp_path / "empty.jsonl"))
    with pytest.raises(DataError, match="is a folder"):
        list(read_jsonl(tmp_path))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_jsonl(tmp_path / "missing.jsonl"))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_jsonl("nul\0byte"))


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
