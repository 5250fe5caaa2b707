from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gdro.config import TrainConfig
from gdro.core.errors import DataError
from gdro.core.prompts import source_of
from gdro.data.prompts import Prompt
from gdro.runs.prompts import RunPrompts, load_prompts, training_sizes


def jsonl(path: Path, numbers: range, **more: Any) -> str:
    path.write_text(
        "".join(
            json.dumps({"prompt": f"p{n}", "answer": n, "id": n, **more}) + "\n" for n in numbers
        )
    )
    return str(path)


def load(**data: Any) -> RunPrompts:
    return load_prompts(TrainConfig(data=data).data)


def test_split_by_hash(tmp_path: Path) -> None:
    found = load(kind="jsonl", path=jsonl(tmp_path / "a.jsonl", range(200)), heldout_fraction=0.2)
    assert len(found.train) + len(found.heldout) == 200
    assert 20 <= len(found.heldout) <= 60
    assert set(found.counts.values()) == {0}


def test_separate_heldout_file_and_limit(tmp_path: Path) -> None:
    train, heldout = jsonl(tmp_path / "a.jsonl", range(50)), jsonl(tmp_path / "b.jsonl", range(10))
    found = load(kind="jsonl", path=train, heldout_path=heldout, limit=20)
    assert (len(found.train), len(found.heldout)) == (20, 10)
    assert found.counts == {
        "duplicates": 0,
        "contradictions": 0,
        "heldout_text_seen": 10,
        "beyond_limit": 30,
    }
    assert found.notes[0] == "10 held-out prompts have a text that is trained on too"


def test_overlap_and_duplicates(tmp_path: Path) -> None:
    first = jsonl(tmp_path / "a.jsonl", range(50), source="s")
    second = jsonl(tmp_path / "b.jsonl", range(40, 60), source="s")
    with pytest.raises(DataError, match="10 ids are both trained on and held out"):
        load(kind="jsonl", path=first, heldout_path=second)
    with pytest.raises(
        DataError, match=r"'s/40' is there twice: .*a.jsonl, row 41 and .*b.jsonl, row 1"
    ):
        load(kind="jsonl", path=[first, second])
    assert (
        load(kind="jsonl", path=[first, second], duplicates="keep_first").counts["duplicates"] == 10
    )


def test_columns_template_and_metadata_reach_the_prompt(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", range(3), tests=["t"])
    settings = {
        "template": "Q: {prompt}",
        "chat": True,
        "metadata_columns": ["tests"],
        "heldout_fraction": 0.0,
    }
    prompt = load(kind="jsonl", path=path, source="mine", **settings).train[0]
    assert prompt.id == "mine/0"
    assert prompt.messages == [{"role": "user", "content": "Q: p0"}]
    assert prompt.metadata == {"tests": ["t"]}


def test_parquet_and_folder(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    (tmp_path / "sums").mkdir()
    pq.write_table(
        pa.table({"prompt": ["p", "q"], "answer": [1, 2]}), tmp_path / "sums" / "train.parquet"
    )
    columns = {
        "answer_column": "answer",
        "id_column": None,
        "source_column": None,
        "heldout_fraction": 0.0,
    }
    parquet = load(
        kind="parquet", path=str(tmp_path / "sums" / "train.parquet"), source="s", **columns
    )
    folder = load(kind="hub", path=str(tmp_path / "sums"), source="s", **columns)
    assert parquet == folder
    assert [p.answer for p in parquet.train] == ["1", "2"]


def test_a_source_that_is_set_is_the_source_whatever_the_rows_say(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    row = {"prompt": "p", "reward_model": {"ground_truth": "2"}, "extra_info": {"index": 3}}
    pq.write_table(pa.Table.from_pylist([row | {"data_source": "theirs"}]), tmp_path / "a.parquet")
    rows = jsonl(tmp_path / "a.jsonl", range(1), source="theirs")
    for path, name in ((str(tmp_path / "a.parquet"), "mine/3"), (rows, "mine/0")):
        (prompt,) = load(path=path, source="mine", heldout_fraction=0.0).train
        assert (prompt.id, prompt.data_source) == (name, "mine")


def test_reasoning_gym() -> None:
    cells = [{"family": "chain_sum", "level": "1", "config": {"min_terms": 2, "max_terms": 3}}]
    found = load(kind="reasoning_gym", size=6, heldout_size=4, cells=cells)
    assert (len(found.train), len(found.heldout)) == (6, 4)
    assert found.train[0].id.startswith("reasoning_gym/chain_sum/1/")
    assert load(kind="reasoning_gym", size=6, heldout_size=0, cells=cells).heldout == []
    with pytest.raises(DataError, match=r"data.cells: row 1: .*nearest one is 'chain_sum'"):
        load(kind="reasoning_gym", cells=[{"family": "chain_sun"}])


def test_reasoning_gym_can_hold_every_cell_out_alike() -> None:
    cells = [
        {
            "family": "chain_sum",
            "level": "1",
            "config": {"min_terms": 2, "max_terms": 3},
            "weight": 9.0,
        },
        {"family": "products", "level": "1", "weight": 1.0},
    ]
    settings: dict[str, Any] = {
        "kind": "reasoning_gym",
        "size": 20,
        "heldout_size": 10,
        "cells": cells,
    }

    def sums(prompts: Sequence[Prompt]) -> int:
        return sum("chain_sum" in prompt.id for prompt in prompts)

    by_weight, alike = load(**settings), load(**settings, heldout_shares="equal")
    assert (sums(by_weight.heldout), sums(alike.heldout)) == (9, 5)
    assert alike.train == by_weight.train
    sizes = {"reasoning_gym/chain_sum/1": 18, "reasoning_gym/products/1": 2}
    assert training_sizes(TrainConfig(data=settings | {"heldout_shares": "equal"}).data) == sizes
    assert training_sizes(TrainConfig(data=settings).data) == {}, (
        "the held-out ones have the same shares"
    )


def test_without_labels_training_ids_name_one_source_and_the_prompts_stay_the_same() -> None:
    cells = [{"family": "gcd", "level": "1"}, {"family": "spell_backward", "level": "1"}]
    given: dict[str, Any] = {"size": 12, "heldout_size": 6, "cells": cells}
    told, hidden = (load(**given, source_labels=labels) for labels in (True, False))
    assert {source_of(prompt.id) for prompt in told.train} == {
        "reasoning_gym/gcd/1",
        "reasoning_gym/spell_backward/1",
    }
    assert {source_of(prompt.id) for prompt in hidden.train} == {""}
    assert len({prompt.id for prompt in hidden.train}) == 12
    assert [prompt.messages for prompt in hidden.train] == [
        prompt.messages for prompt in told.train
    ]
    assert [prompt.id for prompt in hidden.heldout] == [prompt.id for prompt in told.heldout]


def test_without_labels_two_ids_stay_two(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    names = [("a/b", "c:d"), ("a/b/c", "d"), ("x", "y"), ("x:y", "z"), ("x", "y:z")]
    rows = [{"prompt": own, "answer": "1", "id": own, "source": source} for source, own in names]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = load(path=str(path), heldout_fraction=0.0, source_labels=False).train
    ids = [prompt.id for prompt in train]
    assert not any("/" in name for name in ids)
    assert ids[1:3] == ["a:b:c:d", "x:y"], "an id that holds no mark is as it was"
    assert len(set(ids)) == 5, ids
