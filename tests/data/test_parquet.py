from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gdro.core.errors import DataError
from gdro.data.parquet import read_parquet
from gdro.data.rows import Columns


def verl_row(index: int, **changes: Any) -> dict[str, Any]:
    row = {
        "data_source": "gsm8k",
        "prompt": [{"role": "user", "content": f"question {index}"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(index)},
        "extra_info": {"split": "train", "index": index},
    }
    return {**row, **changes}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_verl_layout(tmp_path: Path) -> None:
    rows = list(read_parquet(write(tmp_path / "a.parquet", [verl_row(i) for i in range(3000)])))
    assert [number for number, _ in rows] == list(range(1, 3001))
    prompt = rows[2999][1]
    assert (prompt.id, prompt.source, prompt.answer) == ("gsm8k/2999", "gsm8k", "2999")
    assert prompt.messages == [{"role": "user", "content": "question 2999"}]


def test_own_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "own.parquet", [{"q": "p", "a": 3.0}])
    prompt = next(read_parquet(path, Columns("q", "a")))[1]
    assert prompt.answer == "3"
    assert prompt.id.startswith("own/")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"reward_model": {"style": "rule", "ground_truth": None}},
            "row 2: reward_model.ground_truth is null",
        ),
        ({"reward_model": None}, "row 2: no column 'reward_model.ground_truth'"),
        ({"prompt": []}, "row 2: prompt is an empty list"),
        ({"prompt": None}, "row 2: prompt is null"),
        ({"prompt": [{"role": "user", "content": None}]}, r"row 2: prompt\[0\] has the keys role"),
        ({"extra_info": {"split": "train", "index": None}}, "row 2: extra_info.index is null"),
        ({"data_source": None}, "row 2: data_source is null"),
        ({"data_source": " "}, "row 2: data_source is empty"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    path = write(tmp_path / "a.parquet", [verl_row(1), verl_row(2, **changes)])
    with pytest.raises(DataError, match=what):
        list(read_parquet(path))


@pytest.mark.parametrize("value", [True, ["1"], b"\x80\x04K\x01."])
def test_answers_of_other_types(tmp_path: Path, value: Any) -> None:
    path = write(tmp_path / "a.parquet", [{"prompt": "p", "answer": value}])
    with pytest.raises(DataError, match="row 1: answer is"):
        list(read_parquet(path, Columns()))


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"prompt": "p", "solution": "1"}])
    with pytest.raises(
        DataError, match=r"column 'answer' must be there once, .* it has prompt, solution"
    ):
        list(read_parquet(path, Columns()))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "text.parquet").write_text("prompt,answer\n")
    for name in ("empty.parquet", "text.parquet"):
        with pytest.raises(DataError, match=rf"{name}: not a readable parquet file"):
            list(read_parquet(tmp_path / name))
    with pytest.raises(DataError, match="is a folder"):
        list(read_parquet(tmp_path))
    pq.write_table(pa.Table.from_pylist([verl_row(1)]).slice(0, 0), tmp_path / "none.parquet")
    with pytest.raises(DataError, match=r"none.parquet: the file has no rows"):
        list(read_parquet(tmp_path / "none.parquet"))


def test_truncated_and_not_utf8(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [verl_row(i) for i in range(50)])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a readable parquet file"):
        list(read_parquet(path))
    text = pa.array([b"ok", b"\xff\xfe"]).view(pa.string())
    pq.write_table(pa.table({"prompt": text, "answer": ["1", "2"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"rows 1 to 1024: text that is not UTF-8|row"):
        list(read_parquet(tmp_path / "b.parquet", Columns()))


class _Bomb:
    """Unpickling one of these makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickled_extension_type_is_not_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    payload = pickle.dumps(_Bomb(mark))
    field = pa.field(
        "prompt",
        pa.string(),
        metadata={
            "ARROW:extension:name": "arrow.py_extension_type",
            "ARROW:extension:metadata": payload,
        },
    )
    schema = pa.schema([field, pa.field("answer", pa.string())])
    pq.write_table(
        pa.table([pa.array(["p"]), pa.array(["a"])], schema=schema), tmp_path / "a.parquet"
    )
    try:
        rows = list(read_parquet(tmp_path / "a.parquet", Columns()))
    except DataError:
        rows = []
    assert not mark.exists()
    assert all(prompt.answer == "a" for _, prompt in rows)
