"""The base's tokenizer: any text comes back unchanged, digits stand alone, chats and plain text
agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from gdro.data.reasoning_gym import load_mixture
from gdro.tiny import base_path
from gdro.tiny.mixture import DEFAULT_MIXTURE
from tokenizer import ANSWER, EOS, PAD, train_tokenizer

TOKENIZER = AutoTokenizer.from_pretrained(base_path())


@given(st.text().filter(lambda text: not any(special in text for special in (PAD, EOS, ANSWER))))
def test_any_text_survives(text):
    ids = TOKENIZER(text).input_ids
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text
    assert ids[-1] == TOKENIZER.convert_tokens_to_ids(ANSWER)


def test_a_chat_and_plain_text_give_the_same_prompt():
    for prompt in load_mixture(DEFAULT_MIXTURE, 50, seed=0):
        chat = [{"role": "user", "content": prompt.messages}]
        as_chat = TOKENIZER.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        assert list(as_chat) == TOKENIZER(prompt.messages).input_ids


def test_prompts_and_answers_are_short_and_digits_are_single_tokens():
    for prompt in load_mixture(DEFAULT_MIXTURE, 1024, seed=0) + load_mixture(
        DEFAULT_MIXTURE, 256, 0, "heldout"
    ):
        assert len(TOKENIZER(prompt.messages).input_ids) <= 32
        assert len(TOKENIZER(prompt.answer, add_special_tokens=False).input_ids) < 24
    tokens = TOKENIZER.convert_ids_to_tokens(TOKENIZER("1234", add_special_tokens=False).input_ids)
    assert tokens == ["1", "2", "3", "4"]


def test_special_tokens():
    assert (TOKENIZER.pad_token, TOKENIZER.eos_token, TOKENIZER.padding_side) == (PAD, EOS, "left")
    assert len(TOKENIZER) <= 768


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="at least 259"):
        train_tokenizer(["a"], 100)
