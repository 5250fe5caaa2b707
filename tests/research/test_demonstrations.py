"""The teaching: right when it should be, wrong as often as it says, and wrong in the scorer's
eyes."""

from itertools import islice
from random import Random

import pytest

from demonstrations import TEACHING, Teaching, demonstrate, demonstrations
from gdro.data.reasoning_gym import load_mixture, score
from gdro.tiny.mixture import DEFAULT_MIXTURE, FAMILIES


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
