from __future__ import annotations

import pytest

from gdro.core.errors import DataError
from gdro.data.collect import collect
from gdro.data.prompts import Prompt


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
