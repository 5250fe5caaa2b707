"""What holds over all prompts of a run: no id twice, lengths that fit, splits with no overlap."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.core.errors import DataError
from gdro.data.collect import collect
from gdro.data.lengths import check_lengths
from gdro.data.prompts import Prompt
from gdro.data.split import check_disjoint, choose, position, split_heldout


def prompt(name: str, answer: str = "1") -> Prompt:
    return Prompt(f"s/{name}", name, answer, "s")


def test_files_in_order() -> None:
    found = collect([("a", [(1, prompt("x"))]), ("b", [(1, prompt("y")), (2, prompt("z"))])])
    assert [p.id for p in found.prompts] == ["s/x", "s/y", "s/z"]
    assert (found.duplicates, found.contradictions) == (0, 0)


def test_duplicates_name_both_places() -> None:
    files = [("a.jsonl", [(1, prompt("x")), (2, prompt("y"))]), ("b.jsonl", [(7, prompt("y"))])]
    with pytest.raises(
        DataError, match=r"'s/y' is there twice: a.jsonl, row 2 and b.jsonl, row 7; remove"
    ):
        collect(files)
    other = Prompt("s/y", "another text", "1", "s")
    with pytest.raises(DataError, match=r"they are two prompts: .* set data.id_column: null"):
        collect([("a", [(1, prompt("y"))]), ("b", [(1, other)])])


def test_text_and_chats_do_not_mix() -> None:
    chat = Prompt("s/c", [{"role": "user", "content": "x"}], "1", "s")
    with pytest.raises(
        DataError, match="b, row 4: the prompt is a chat and those before it are text"
    ):
        collect([("a", [(1, prompt("x"))]), ("b", [(4, chat)])])
    with pytest.raises(
        DataError, match="a, row 2: the prompt is text and those before it are chats"
    ):
        collect([("a", [(1, chat), (2, prompt("x"))])])


def test_keep_first_counts() -> None:
    files = [
        ("a", [(1, prompt("x")), (2, prompt("x", "other")), (3, prompt("x")), (4, prompt("y"))])
    ]
    found = collect(files, "keep_first")
    assert [(p.id, p.answer) for p in found.prompts] == [("s/x", "1"), ("s/y", "1")]
    assert (found.duplicates, found.contradictions) == (2, 1)


class Tokenizer:
    """A word is a token; a chat has two more for each message and one at the end."""

    def __init__(self, chat_template: str | None = "yes") -> None:
        self.chat_template = chat_template

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [0] * len(text.split())}

    def apply_chat_template(
        self, messages: list[dict[str, str]], **options: Any
    ) -> dict[str, list[int]]:
        assert options == {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
        return {"input_ids": [0] * (1 + sum(2 + len(m["content"].split()) for m in messages))}


def sized(name: str, words: int, chat: bool = False) -> Prompt:
    text = " ".join(["w"] * words)
    return Prompt(name, [{"role": "user", "content": text}] if chat else text, "1", "s")


def test_all_fit() -> None:
    given = [sized("a", 3), sized("b", 2, chat=True)]
    found = check_lengths(given, Tokenizer(), 5)
    assert (found.prompts, found.dropped, found.longest) == (given, 0, 5)
    assert check_lengths([], Tokenizer(), 5).prompts == []


def test_too_long() -> None:
    given = [sized("a", 3), sized("b", 9), sized("c", 6, chat=True), sized("d", 30)]
    with pytest.raises(
        DataError,
        match=r"3 of 4 prompts are longer than 8 tokens; the first is 'b', the longest has 30",
    ):
        check_lengths(given, Tokenizer(), 8)
    found = check_lengths(given, Tokenizer(), 8, "drop")
    assert ([p.id for p in found.prompts], found.dropped, found.longest) == (["a"], 3, 30)


def test_dropping_all_is_an_error() -> None:
    with pytest.raises(DataError, match="1 of 1 prompts"):
        check_lengths([sized("a", 9)], Tokenizer(), 8, "drop")


def test_chat_without_template() -> None:
    with pytest.raises(
        DataError, match=r"prompt 'a': .* the model's tokenizer has no chat template"
    ):
        check_lengths([sized("a", 1, chat=True)], Tokenizer(None), 8)


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
