"""The embedded base's making: its tokenizer, what it is taught (right when it should be, wrong as
often as it says), and the training script in miniature."""

from __future__ import annotations

import dataclasses
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoTokenizer

from demonstrations import TEACHING, Teaching, demonstrate, demonstrations
from gdro.data.reasoning_gym import load_mixture, score
from gdro.tiny import base_path
from gdro.tiny.mixture import DEFAULT_MIXTURE, FAMILIES
from pretrain import (
    ANSWER,
    EOS,
    PAD,
    Phase,
    PretrainSettings,
    make_tokenizer,
    pretrain,
    train_tokenizer,
)

SMALL = PretrainSettings(
    skills=Phase(steps=4, learning_rate=1e-3, warmup=2, horizon=4, faulty=False),
    faults=Phase(steps=3, learning_rate=1e-3, warmup=1, horizon=3, faulty=True),
    batch=16,
    chunks=2,
    tokenizer_texts=10,
    vocab_size=320,
    hidden=64,
    intermediate=64,
    layers=1,
)
CELLS = DEFAULT_MIXTURE[:3]


def test_same_seed_same_bytes(tmp_path):
    first = pretrain(SMALL, tmp_path / "a", CELLS)
    assert first == pretrain(SMALL, tmp_path / "b", CELLS)
    assert first != pretrain(dataclasses.replace(SMALL, seed=1), tmp_path / "c", CELLS)
    assert {
        weight.dtype.itemsize for weight in load_file(tmp_path / "a" / "model.safetensors").values()
    } == {4}


def test_the_rate_warms_up_and_decays_to_a_twentieth():
    phase = Phase(steps=100, learning_rate=1.0, warmup=10, horizon=100, faulty=False)
    assert phase.rate_at(0) == 0.1
    assert phase.rate_at(9) == 1.0
    assert abs(phase.rate_at(100) - 0.05) < 1e-9


def test_the_tokenizer_is_remade_from_the_same_texts():
    once, again = (make_tokenizer(SMALL, CELLS).get_vocab() for _ in range(2))
    assert once == again


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


def test_every_cell_has_a_teaching():
    assert set(TEACHING) == {cell.name for cell in DEFAULT_MIXTURE}
    assert 6 <= len(FAMILIES) <= 10
    assert all(2 <= len(family.levels) <= 4 for family in FAMILIES)


def test_faultless_demonstrations_are_right_and_repeatable():
    for cell in DEFAULT_MIXTURE:
        pairs = list(islice(demonstrations(cell, 3, faulty=False), 5))
        assert pairs == list(islice(demonstrations(cell, 3, faulty=False), 5))
    prompt = load_mixture(DEFAULT_MIXTURE, 25, seed=0)[0]
    assert demonstrate(prompt, Teaching(0.0, 0.0), Random(0)) == prompt.answer


@pytest.mark.parametrize(("habit", "slip"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_wrong_demonstration_never_scores_one(habit, slip):
    rng = Random(0)
    for prompt in load_mixture(DEFAULT_MIXTURE, 500, seed=0):
        assert score(prompt, demonstrate(prompt, Teaching(habit, slip), rng)) < 1.0


def test_error_rates_are_as_stated():
    rng = Random(0)
    for cell in DEFAULT_MIXTURE:
        teaching = TEACHING[cell.name]
        prompts = load_mixture([cell], 20, seed=0)
        wrong = sum(
            score(p, demonstrate(p, teaching, rng)) < 1.0 for p in prompts for _ in range(50)
        )
        assert wrong / 1000 == pytest.approx(teaching.habit + teaching.slip, abs=0.06)


def test_no_heldout_question_is_taught():
    heldout = {p.messages for p in load_mixture(DEFAULT_MIXTURE, 256, 0, "heldout")}
    for cell in DEFAULT_MIXTURE:
        assert not heldout & {
            question for question, _ in islice(demonstrations(cell, 1, faulty=True), 500)
        }
