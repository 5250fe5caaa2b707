from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.core.errors import DataError
from gdro.data.prompts import Prompt
from gdro.data.split import check_disjoint, choose, position, split_heldout


def prompts(count: int, start: int = 0) -> list[Prompt]:
    return [Prompt(f"s/{i}", f"p{i}", "1", "s") for i in range(start, start + count)]


def test_split_is_stable_under_new_rows() -> None:
    train, heldout = split_heldout(prompts(400), 0.1)
    more_train, more_heldout = split_heldout(list(reversed(prompts(1000))), 0.1)
    assert {p.id for p in train} <= {p.id for p in more_train}
    assert {p.id for p in heldout} <= {p.id for p in more_heldout}
    assert 60 <= len(more_heldout) <= 140
    assert len(train) + len(heldout) == 400


def test_position_is_fixed_for_ever() -> None:
    assert position("s/1", "heldout") == pytest.approx(0.6782574771)
    assert position("s/1", "limit") != position("s/1", "heldout")


@given(st.integers(1, 60), st.integers(1, 80))
def test_choose_keeps_order_and_grows(total: int, count: int) -> None:
    few, more = choose(prompts(total), count, "limit"), choose(prompts(total), count + 1, "limit")
    assert len(few) == min(total, count)
    assert [p for p in more if p in few] == few
    assert choose(prompts(total), None, "limit") == prompts(total)


def test_fractions() -> None:
    assert split_heldout(prompts(3), 0.0) == (prompts(3), [])
    with pytest.raises(DataError, match="leaves 1 to train on and 0 held out"):
        split_heldout(prompts(1), 0.001)
    for bad in (1.0, -0.1, float("nan")):
        with pytest.raises(DataError, match="at least 0 and below 1"):
            split_heldout(prompts(9), bad)


def test_overlap() -> None:
    assert check_disjoint(prompts(5), prompts(5, start=5)) == 0
    with pytest.raises(
        DataError, match=r"2 ids are both trained on and held out, e.g. 's/3'; take them out of one"
    ):
        check_disjoint(prompts(5), prompts(5, start=3))
    # verl's own GSM8K files: the index counts from 0 in both
    other = [Prompt("s/3", "another text", "1", "s")]
    with pytest.raises(DataError, match=r"1 of them name two prompts: .* set data.id_column: null"):
        check_disjoint(prompts(5), other)
    copy = Prompt("t/1", [{"role": "user", "content": "p1"}], "1", "t")
    assert check_disjoint(prompts(5), [copy]) == 1
