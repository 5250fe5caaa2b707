"""Prompt ids from verl's data: stable, unique, and never verl's silent default of index 0."""

from __future__ import annotations

import numpy as np
import pytest

from gdro.core.errors import PromptIdError
from gdro.engines.verl.rows import prompt_id, prompt_ids


def test_ids_are_source_and_index() -> None:
    infos = [{"index": 7}, {"index": "a/b"}, {"index": np.int64(7)}, {"index": 7.0}]
    ids = prompt_ids(["math", "math", "gsm8k", "aime"], infos)
    assert ids == ["math/7", "math/a/b", "gsm8k/7", "aime/7"]


STRANGE = [
    {"index": odd}
    for odd in ([1], {}, b"x", np.True_, np.array([1, 2]), float("nan"), float("inf"))
]


@pytest.mark.parametrize(
    "info", [None, {}, {"index": None}, {"index": True}, {"index": 1.5}, {"index": ""}, *STRANGE]
)
def test_a_row_without_a_usable_index_is_named(info: object) -> None:
    with pytest.raises(PromptIdError, match=r"row 3 .*extra_info"):
        prompt_id("math", info, 3)


def test_two_rows_with_one_id_are_named() -> None:
    with pytest.raises(PromptIdError, match="rows 0 and 2 of the batch are both prompt 'math/1'"):
        prompt_ids(["math"] * 3, [{"index": 1}, {"index": 2}, {"index": 1}])


def test_a_source_is_a_name() -> None:
    with pytest.raises(PromptIdError, match="data_source=None"):
        prompt_id(None, {"index": 1}, 0)
