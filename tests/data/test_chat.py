"""Prompts as the model gets them: shapes, chat templates and their variables, thinking that the
prompt opens."""

from __future__ import annotations

from typing import Any

import pytest

from gdro.core.errors import DataError
from gdro.data.chat import Shape, check_chats, encode, opens_thinking, render
from gdro.data.prompts import Prompt
from gdro.tiny import base_path

THINKING = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: "
    "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    + THINKING
)
ASKED = [{"role": "user", "content": "1+1?"}]


def tokenizer(template: str | None = THINKING) -> Any:
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(base_path())
    made.chat_template = template
    return made


def prompt(messages: Any = "1+1?") -> Prompt:
    return Prompt("s/1", messages, "2", "s")


def test_shapes() -> None:
    assert Shape().apply("q", "row 1") == "q"
    assert Shape("Q: {prompt}").apply("q", "row 1") == "Q: q"
    assert Shape(chat=True).apply("q", "row 1") == [{"role": "user", "content": "q"}]
    whole = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]
    assert Shape(chat=True, system_prompt="Be brief.").apply("q", "row 1") == whole
    assert (
        Shape(system_prompt="Be brief.").apply([{"role": "user", "content": "q"}], "row 1") == whole
    )
    with pytest.raises(DataError, match=r"row 1: has a system message of its own"):
        Shape(system_prompt="x").apply(whole, "row 1")
    with pytest.raises(
        DataError, match="row 1: plain text takes no system_prompt; set chat to true"
    ):
        Shape(system_prompt="x").apply("q", "row 1")
    with pytest.raises(DataError, match=r"row 1: a chat takes no template; .* data.template"):
        Shape("Q: {prompt}").apply([{"role": "user", "content": "q"}], "row 1")
    with pytest.raises(DataError, match="exactly once"):
        Shape("no place")


def test_a_chat_is_rendered_by_the_template_with_its_variables() -> None:
    made = tokenizer()
    assert render(ASKED, made) == "user: 1+1?\nassistant: <think>"
    assert render(ASKED, made, {"enable_thinking": False}) == "user: 1+1?\nassistant: "
    assert made.decode(encode(ASKED, made, {"enable_thinking": False})).endswith("assistant: ")
    assert (
        opens_thinking(ASKED, made),
        opens_thinking(ASKED, made, {"enable_thinking": False}),
    ) == (True, False)
    assert encode("1+1?", made) == made("1+1?")["input_ids"]


@pytest.mark.parametrize(
    ("ends", "opens"),
    [
        ("<think>\n", True),
        ("<think>\n\n</think>\n\n", False),
        ("<think>\nOkay,", True),
        ("<mm:think>", True),
        ("<longcat_think>\n", True),
        ("<|channel>thought\n", True),
        ("<|channel|>analysis<|message|>", True),
        ("<|START_THINKING|>", True),
        ("[THINK]", True),
        ("", False),
    ],
)
def test_the_marks_of_the_verifier_tell_whether_a_prompt_opens_the_thinking(
    ends: str, opens: bool
) -> None:
    """One that the question merely speaks of does not."""
    asked = "Think in <think> tags, or in [THINK]. 1+1?"
    assert opens_thinking(f"{asked}\nAssistant: {ends}", tokenizer()) is opens
    assert opens_thinking(f"{asked}\n{ends}", tokenizer()) is opens


def test_templates_that_refuse_are_one_line() -> None:
    chat = [{"role": "system", "content": "x"}, *ASKED]
    with pytest.raises(
        DataError, match=r"refuses a prompt with the roles system, user \(no system here\)"
    ):
        encode(chat, tokenizer(NO_SYSTEM))
    with pytest.raises(DataError, match="has no chat template"):
        encode(chat, tokenizer(None))


def test_a_chat_model_with_plain_prompts_is_told() -> None:
    assert "data.chat=true" in (check_chats([prompt()], tokenizer()) or "")
    assert check_chats([prompt(ASKED)], tokenizer()) is None
    assert check_chats([prompt()], tokenizer(None)) is None
    from transformers import AutoTokenizer

    # its template gives the same tokens as plain text
    tiny = AutoTokenizer.from_pretrained(base_path())
    assert check_chats([prompt()], tiny) is None


def test_a_variable_that_does_nothing_is_an_error() -> None:
    made = tokenizer()
    assert check_chats([prompt(ASKED)], made, {"enable_thinking": False}) is None
    with pytest.raises(
        DataError, match=r"chat_template_kwargs.enable_thinkin: .* it has enable_thinking$"
    ):
        check_chats([prompt(ASKED)], made, {"enable_thinkin": False})
    with pytest.raises(DataError, match=r"the prompts are plain text; set data.chat=true"):
        check_chats([prompt()], made, {"enable_thinking": False})
