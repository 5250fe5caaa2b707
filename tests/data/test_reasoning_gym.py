"""Prompts from reasoning-gym: stable ids, disjoint splits, unmodified questions, its own
scorers."""

import json
from dataclasses import replace

import pytest
import reasoning_gym
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.data.cells import BLOCK
from gdro.data.chat import Shape
from gdro.data.reasoning_gym import (
    Cell,
    Family,
    cells_from_config,
    draw_mixture,
    load_mixture,
    score,
    split_of,
)
from gdro.tiny.mixture import DEFAULT_MIXTURE

SUMS = Cell("chain_sum", "easy", {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 2})
WORDS = Cell("spell_backward", "short", {"min_word_len": 3, "max_word_len": 4})


def test_ids_do_not_depend_on_order_or_other_cells():
    alone = load_mixture([SUMS], 20, seed=3)
    mixed = load_mixture([WORDS, SUMS], 40, seed=3)
    assert mixed[20:] == alone
    assert sorted(p.id for p in load_mixture([SUMS, WORDS], 40, seed=3)) == sorted(
        p.id for p in mixed
    )
    assert alone[0].id.startswith("reasoning_gym/chain_sum/easy/3-")
    assert load_mixture([SUMS], 10, seed=3) == alone[:10]


def test_splits_are_disjoint_by_id_and_question():
    train = [p for seed in (0, 1) for p in load_mixture(DEFAULT_MIXTURE, 1024, seed, "train")]
    heldout = load_mixture(DEFAULT_MIXTURE, 256, 0, "heldout")
    assert len({p.id for p in [*train, *heldout]}) == 2 * 1024 + 256
    assert not {p.messages for p in train} & {p.messages for p in heldout}
    assert len({p.messages for p in heldout}) == 256


def test_questions_and_answers_are_reasoning_gyms_own():
    for prompt in load_mixture(DEFAULT_MIXTURE, 100, seed=5):
        cell = next(
            c
            for c in DEFAULT_MIXTURE
            if c.family == prompt.metadata["family"] and c.level == prompt.metadata["level"]
        )
        index = int(prompt.id.rsplit("-", 1)[1])
        found = _entry_with_question(cell, index, prompt.messages)
        assert found["answer"] == prompt.answer
        assert json.loads(json.dumps(prompt.metadata)) == prompt.metadata


def _entry_with_question(cell, index, question):
    from gdro.data.reasoning_gym import _block_seed

    dataset = reasoning_gym.create_dataset(
        cell.family, seed=_block_seed(cell, 5, 0), size=BLOCK, **cell.config
    )
    entry = dataset[index]
    assert entry["question"] == question
    return entry


def test_every_gold_answer_scores_one_and_wrong_ones_less():
    for prompt in load_mixture(DEFAULT_MIXTURE, 1024, seed=0) + load_mixture(
        DEFAULT_MIXTURE, 256, 0, "heldout"
    ):
        assert score(prompt, prompt.answer) == 1.0
        assert score(prompt, f" {prompt.answer}\n") == 1.0
        assert score(prompt, f" {prompt.answer}\n") == 1.0
        for wrong in ("", "x", prompt.answer + "1", "<answer></answer>", "∑"):
            assert score(prompt, wrong) < 1.0


@pytest.mark.parametrize(
    "family",
    [
        "gsm_symbolic",
        "basic_arithmetic",
        "knights_knaves",
        "countdown",
        "number_sorting",
        "mini_sudoku",
    ],
)
def test_other_families_score_their_gold_answers(family):
    prompts = load_mixture([Cell(family)], 3, seed=1)
    assert [p.metadata["level"] for p in prompts] == ["default"] * 3
    for prompt in prompts:
        assert score(prompt, prompt.answer) == 1.0


@pytest.mark.parametrize("family", ["propositional_logic", "graph_color"])
def test_a_family_that_cannot_be_scored_from_text_is_refused(family):
    with pytest.raises(
        ValueError, match=f"cell {family}/default: .* cannot be scored from a text answer"
    ):
        load_mixture([Cell(family)], 1, seed=0)


def test_rounding_does_not_make_a_wrong_word_right():
    nine_letters = Cell("spell_backward", "9", {"min_word_len": 9, "max_word_len": 9})
    prompt = load_mixture([nine_letters], 1, seed=0)[0]
    assert score(prompt, prompt.answer + "x") < 1.0


def test_level_config_reaches_the_scorer():
    prompt = load_mixture([SUMS], 1, seed=0)[0]
    assert prompt.metadata["config"] == SUMS.config
    assert prompt.data_source == "reasoning_gym"
    assert prompt.source == prompt.id.rpartition("/")[0]


@given(st.text())
@settings(max_examples=50)
def test_any_completion_gets_a_score(text):
    for cell in (SUMS, WORDS, Cell("prime_factorization"), Cell("gcd")):
        assert 0.0 <= score(load_mixture([cell], 1, seed=0)[0], text) <= 1.0


@pytest.mark.parametrize(
    ("family", "what"),
    [
        ("game_of_life_halting", "any answer"),
        ("puzzle24", "one constant"),
        ("coin_flip", "a mere beginning"),
    ],
)
def test_a_family_that_pays_for_no_answer_is_refused(family, what):
    with pytest.raises(
        ValueError, match=f"cell {family}/default: the scorer of {family} pays in full for {what}"
    ):
        load_mixture([Cell(family)], 8, seed=0)


def test_a_mixture_as_chats_has_the_same_ids_and_scores():
    shape = Shape("Solve: {prompt}", chat=True, system_prompt="Answer with one word.")
    plain, chats = load_mixture([SUMS, WORDS], 8, 0), load_mixture([SUMS, WORDS], 8, 0, shape=shape)
    assert [p.id for p in plain] == [p.id for p in chats]
    assert chats[0].messages == [
        {"role": "system", "content": "Answer with one word."},
        {"role": "user", "content": f"Solve: {plain[0].messages}"},
    ]
    for one, other in zip(plain, chats, strict=True):
        for answer in (one.answer, "banana", one.answer[:1]):
            assert score(one, answer) == score(other, answer)


def test_duplicates_are_dropped_counted_and_too_small_a_cell_is_an_error():
    tiny = Cell("chain_sum", "one-digit", {"min_terms": 2, "max_terms": 2, "max_digits": 1})
    draw = draw_mixture([tiny], 140, seed=0)
    assert len({p.messages for p in draw.prompts}) == 140
    assert draw.duplicates["chain_sum/one-digit"] > 0
    assert draw.other_split["chain_sum/one-digit"] > 0
    with pytest.raises(ValueError, match=r"chain_sum/one-digit: only \d+ distinct train questions"):
        draw_mixture([tiny], 300, seed=0)


def test_a_question_two_cells_share_is_drawn_once_whatever_their_order():
    twin = replace(SUMS, level="twin", config={**SUMS.config, "max_digits": 2})
    draws = [draw_mixture(order, 600, seed=0) for order in ([SUMS, twin], [twin, SUMS])]
    assert {p.id for p in draws[0].prompts} == {p.id for p in draws[1].prompts}
    assert len({p.messages for p in draws[0].prompts}) == 600
    assert draws[0].duplicates["chain_sum/twin"] >= 300


def test_split_of_holds_out_a_fifth():
    share = sum(split_of(f"question {i}") == "heldout" for i in range(5000)) / 5000
    assert 0.18 < share < 0.22


def test_user_mixture():
    cells = cells_from_config(
        [
            {"family": "chain_sum", "weight": 3, "config": {"max_terms": 2}},
            {"family": "gcd", "weight": 1},
        ]
    )
    prompts = load_mixture(cells, 40, seed=0)
    assert sum(p.metadata["family"] == "chain_sum" for p in prompts) == 30
    sized = cells_from_config([{"family": "gcd", "size": 3}, {"family": "lcm", "size": 5}])
    assert len(load_mixture(sized, None, seed=0)) == 8


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"family": "chain_sums"},
            "row 1: unknown reasoning-gym family 'chain_sums'; the nearest one is 'chain_sum'",
        ),
        (
            {"family": "gcd", "config": {"max_valu": 3}},
            "row 1: cell .*gcd has no config key 'max_valu'",
        ),
        ({"family": "gcd", "config": {"seed": 3}}, "no config key 'seed'"),
        ({"family": "gcd", "wieght": 3}, "row 1: unknown key 'wieght'"),
        ({"weight": 3}, "row 1: no 'family'"),
        ({"family": "gcd", "weight": 0}, "weight must be positive"),
        ({"family": "gcd", "size": 0}, "size must be at least 1"),
        ({"family": "gcd", "level": "a/b"}, "may not hold '/'"),
    ],
)
def test_user_mixture_errors(entry, message):
    with pytest.raises(ValueError, match=message):
        cells_from_config([entry])


def test_mixture_errors():
    with pytest.raises(ValueError, match="refuses config"):
        load_mixture([Cell("gcd", "x", {"min_numbers": 1})], 3, seed=0)
    with pytest.raises(ValueError, match="in the mixture twice"):
        load_mixture([SUMS, SUMS], 3, seed=0)
    with pytest.raises(ValueError, match="has no size"):
        load_mixture([SUMS], None, seed=0)
    with pytest.raises(ValueError, match="use weights, or sizes only"):
        load_mixture([replace(SUMS, size=3)], 3, seed=0)
    with pytest.raises(ValueError, match="at least as many prompts"):
        load_mixture(DEFAULT_MIXTURE, 3, seed=0)
    with pytest.raises(ValueError, match="no cells"):
        load_mixture([], 3, seed=0)


def test_family_gives_one_cell_per_level():
    family = Family("gcd", {"1": {"max_value": 10}, "2": {}})
    assert [cell.name for cell in family.cells()] == ["gcd/1", "gcd/2"]


def test_a_cell_without_questions_is_named():
    """No word of reasoning-gym's list is that long; its own error is an IndexError without a
    name."""
    cell = Cell("spell_backward", "40", {"min_word_len": 40, "max_word_len": 41})
    with pytest.raises(
        ValueError,
        match=r"cell spell_backward/40: reasoning-gym finds no question for config .* widen it",
    ):
        load_mixture([cell], 4, 0)
