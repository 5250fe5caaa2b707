"""The verifier as a reward function: rewards by id, with and without partial credit."""

from __future__ import annotations

import pytest

from gdro.data.prompts import Prompt
from gdro.runs.rewards import VerifierReward
from gdro.verify.reader import Answer


class Lengths:
    """Scores a tenth of the completion's length; the prompt's answer is added."""

    def __init__(self):
        self.counts = {}

    def score(self, prompts, completions):
        self.counts["scored"] = self.counts.get("scored", 0) + len(completions)
        return [float(p.answer) + len(c) / 10 for p, c in zip(prompts, completions, strict=True)]

    def answer(self, completion):
        return Answer(completion, "") if completion else None


PROMPTS = [
    Prompt("a/1", "one?", "0", "a", {}),
    Prompt("a/2", [{"role": "user", "content": "two?"}], "0.5", "a", {}),
]


@pytest.mark.parametrize(
    ("threshold", "expected"), [(None, [0.7, 0.3, 1.0]), (0.7, [1.0, 0.0, 1.0]), (1.0, [0, 0, 1])]
)
def test_partial_credit(threshold, expected):
    verifier = Lengths()
    reward = VerifierReward(verifier, PROMPTS, threshold)
    chat = [{"role": "assistant", "content": "12345"}]
    assert reward(completions=["12", "123", chat], id=["a/2", "a/1", "a/2"]) == pytest.approx(
        expected
    )
    assert (reward.example.question, reward.example.completion) == ("two?", "12")
    assert reward.example.reward == expected[0]
    verifier.score(PROMPTS[:1], ["of an evaluation"])
    assert reward.new_counts() == {"scored": 3}
    assert reward.new_counts() == {}


def test_answers_are_told_where_rounds_read_them():
    told = []
    reward = VerifierReward(Lengths(), PROMPTS, tells_answers=True)
    reward(completions=["12", ""], id=["a/1", "a/2"], log_extra=lambda *said: told.append(said))
    assert told == [("answer", ["12", None])]
