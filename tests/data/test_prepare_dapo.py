"""DAPO-Math-17k-Processed -> verl's schema, on a small file of the hub's own schema."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gdro.cli import main
from gdro.core.errors import DataError
from gdro.data.parquet import read_parquet
from gdro.data.prepare_dapo import prepare, prepare_dapo


def _row(text: str, answer: str, index: int = 0) -> dict[str, Any]:
    """The columns that the hub shows for the subset `en`."""
    return {
        "prompt": text,
        "solution": answer,
        "data_source": "math_dapo",
        "source_prompt": [
            {"content": f"Solve the following math problem step by step. {text}", "role": "user"}
        ],
        "ability": "MATH",
        "reward_model": {"ground_truth": answer, "style": "rule-lighteval/MATH_v2"},
        "extra_info": {"index": f"0000-{index}"},
    }


ROWS = [
    _row("What is $1+1$?", "2", 0),
    _row("What is  $1+1$?\n", "2", 1),
    _row("What is $1+1$?", "3", 2),
    _row("Find $x$ if $x^2 = 49$ and $x > 0$.", "7", 3),
    _row("求 $x$ 的值", "1", 4),
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "copy" / "en"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "train-00000-of-00001.parquet")
    other = tmp_path / "copy" / "cn"
    other.mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS[4:]), other / "train-00000-of-00001.parquet")
    return tmp_path / "copy"


def test_duplicates_and_other_languages_are_dropped_and_counted(
    source: Path, tmp_path: Path
) -> None:
    made = prepare_dapo(str(source), tmp_path / "out.parquet")
    assert (made.read, len(made.rows), made.duplicates, made.contradictions, made.not_english) == (
        5,
        2,
        2,
        1,
        1,
    )
    prompts = [prompt for _, prompt in read_parquet(tmp_path / "out.parquet")]
    assert [prompt.answer for prompt in prompts] == ["2", "7"]
    assert all(
        prompt.source == "math_dapo" and prompt.id.startswith("math_dapo/") for prompt in prompts
    )
    content = prompts[0].messages[0]["content"]
    assert content.startswith("What is $1+1$?\n\n")
    assert "\\boxed{}" in content


def test_ids_outlive_order_and_new_rows() -> None:
    placed = [(f"row {i}", row) for i, row in enumerate(ROWS)]
    ids = {row["extra_info"]["index"] for row in prepare(placed).rows}
    more = [("new", _row("Another?", "5")), *reversed(placed)]
    assert ids < {row["extra_info"]["index"] for row in prepare(more).rows}


def test_same_source_same_bytes(source: Path, tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        prepare_dapo(str(source), tmp_path / name)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_bad_row_is_named_and_nothing_written(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([ROWS[0], _row("And?", " ")]), tmp_path / "in.parquet")
    with pytest.raises(DataError, match=r"in\.parquet, row 2: solution"):
        prepare_dapo(str(tmp_path / "in.parquet"), tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_a_template_without_its_place_is_refused() -> None:
    with pytest.raises(DataError, match="exactly once"):
        prepare([("row 1", ROWS[0])], "Think.")


def test_the_command(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.parquet"
    assert main(["prepare", "dapo-math", "--source", str(source), "--output", str(output)]) == 0
    assert (
        "5 rows read, 2 kept; 2 duplicates dropped (1 with another answer), 1 not"
        in capsys.readouterr().out
    )
    assert (
        main(
            [
                "prepare",
                "dapo-math",
                "--source",
                str(tmp_path / "empty.txt"),
                "--output",
                str(output),
            ]
        )
        == 2
    )
