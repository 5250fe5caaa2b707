from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from gdro.core.errors import DataError
from gdro.data.hub import read_hub
from gdro.data.rows import Columns

ROWS = {"problem": ["1+1", "2+2"], "solution": ["2", "4"], "uid": [10, 11]}
COLUMNS = Columns("problem", "solution", "uid")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "sums"
    path.mkdir()
    datasets.Dataset.from_dict(ROWS).to_parquet(path / "train.parquet")
    return path


def test_folder_of_files(folder: Path) -> None:
    rows = list(read_hub(str(folder), columns=COLUMNS))
    assert [(n, p.id, p.messages, p.answer) for n, p in rows] == [
        (1, "sums/10", "1+1", "2"),
        (2, "sums/11", "2+2", "4"),
    ]


def test_saved_to_disk(tmp_path: Path) -> None:
    saved = datasets.Dataset.from_dict(ROWS)
    saved.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": saved}).save_to_disk(tmp_path / "dict")
    assert [p.id for _, p in read_hub(str(tmp_path / "one"), columns=COLUMNS)] == [
        "one/10",
        "one/11",
    ]
    assert len(list(read_hub(str(tmp_path / "dict"), split="test", columns=COLUMNS))) == 2
    with pytest.raises(DataError, match="no such split; the folder has test"):
        list(read_hub(str(tmp_path / "dict"), columns=COLUMNS))


@pytest.mark.parametrize(
    ("split", "rows"), [("train", 12), ("train[:5]", 5), ("train[50%:]+train[:1]", 7)]
)
def test_the_split_of_a_saved_dataset_counts(tmp_path: Path, split: str, rows: int) -> None:
    made = datasets.Dataset.from_dict(
        {"prompt": [f"q{i}" for i in range(12)], "answer": [str(i) for i in range(12)]}
    )
    made.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "dict")
    for name in ("one", "dict"):
        found = list(read_hub(str(tmp_path / name), split=split, columns=Columns()))
        assert len(found) == rows
        assert found[-1][1].answer == {12: "11", 5: "4", 7: "0"}[rows]
        for wrong in ("test", "train[", "test[:2]"):
            with pytest.raises(DataError, match="no such split; the folder has train"):
                list(read_hub(str(tmp_path / name), split=wrong, columns=Columns()))


def test_errors_name_the_dataset(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'answer'; it has problem, solution, uid"):
        list(read_hub(str(folder), columns=Columns("problem")))
    with pytest.raises(DataError, match=r"split nope: cannot be loaded"):
        list(read_hub(str(folder), split="nope", columns=COLUMNS))
    with pytest.raises(DataError, match="cannot be loaded"):
        list(read_hub(str(tmp_path / "missing"), columns=COLUMNS))
    with pytest.raises(DataError, match="reads pickles"):
        list(read_hub("pandas", columns=COLUMNS))


def test_malformed_row(tmp_path: Path) -> None:
    saved = datasets.Dataset.from_dict({"prompt": ["p", "q"], "answer": ["1", None]})
    saved.save_to_disk(tmp_path / "d")
    with pytest.raises(DataError, match=r"split train, row 2: answer is null"):
        list(read_hub(str(tmp_path / "d")))
