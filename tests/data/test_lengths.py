from __future__ import annotations

from typing import Any

import pytest

from gdro.core.errors import DataError
from gdro.data.lengths import check_lengths
from gdro.data.prompts import Prompt


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


def prompt(name: str, words: int, chat: bool = False) -> Prompt:
    text = " ".join(["w"] * words)
    return Prompt(name, [{"role": "user", "content": text}] if chat else text, "1", "s")


def test_all_fit() -> None:
    given = [prompt("a", 3), prompt("b", 2, chat=True)]
    found = check_lengths(given, Tokenizer(), 5)
    assert (found.prompts, found.dropped, found.longest) == (given, 0, 5)
    assert check_lengths([], Tokenizer(), 5).prompts == []


def test_too_long() -> None:
    given = [prompt("a", 3), prompt("b", 9), prompt("c", 6, chat=True), prompt("d", 30)]
    with pytest.raises(
        DataError,
        match=r"3 of 4 prompts are longer than 8 tokens; the first is 'b', the longest has 30",
    ):
        check_lengths(given, Tokenizer(), 8)
    found = check_lengths(given, Tokenizer(), 8, "drop")
    assert ([p.id for p in found.prompts], found.dropped, found.longest) == (["a"], 3, 30)


def test_dropping_all_is_an_error() -> None:
    with pytest.raises(DataError, match="1 of 1 prompts"):
        check_lengths([prompt("a", 9)], Tokenizer(), 8, "drop")


def test_chat_without_template() -> None:
    with pytest.raises(
        DataError, match=r"prompt 'a': .* the model's tokenizer has no chat template"
    ):
        check_lengths([prompt("a", 1, chat=True)], Tokenizer(None), 8)
