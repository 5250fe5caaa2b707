"""The verifier as a reward function, by id, with and without partial credit; and evaluation events:
figures by hand, bins fixed by the base, paired change."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gdro.config import TrainConfig
from gdro.core.errors import RunError
from gdro.data.prompts import Prompt
from gdro.runs import evaluate
from gdro.runs.evaluation import Evaluation, event, load_evaluation
from gdro.runs.rewards import VerifierReward
from gdro.verify.reader import Answer


def _evaluation(correct, samples=4):
    prompts = [
        Prompt(f"s/{'odd' if i % 2 else 'even'}/{i}", "q", "a", "s") for i in range(len(correct))
    ]
    return Evaluation(prompts, np.array(correct), samples, 1.5)


def test_figures_of_a_small_case():
    base, after = _evaluation([0, 1, 2, 4]), _evaluation([1, 2, 2, 4])
    fields = event(after, base)
    assert fields["mean_at_k"]["value"] == (1 + 2 + 2 + 4) / 16
    assert fields["pass_at_k"]["value"] == 1.0
    assert fields["change"]["mean_at_k"]["value"] == 2 / 16
    assert fields["change"]["pass_at_k"]["value"] == 0.25
    assert [row["bin"] for row in fields["by_bin"]] == [0, 2, 5, 9]
    assert fields["worst_bin"]["bin"] == 0
    assert fields["by_source"]["s/odd"]["mean_at_k"]["value"] == 6 / 8
    json.dumps(fields, allow_nan=False)


def test_bins_stay_those_of_the_base():
    base, after = _evaluation([0, 0, 4]), _evaluation([4, 4, 0])
    rows = {row["bin"]: row for row in event(after, base)["by_bin"]}
    assert rows[0]["prompts"] == 2
    assert rows[0]["mean_at_k"]["value"] == 1.0
    assert rows[9]["mean_at_k"]["value"] == 0.0


def test_saved_evaluations_come_back(tmp_path):
    result = _evaluation([0, 3, 1])
    path = tmp_path / "evaluations" / "step-000000.jsonl"
    result.save(path)
    again = load_evaluation(path, result.prompts)
    assert (again.correct == result.correct).all()
    assert again.samples == 4


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


@pytest.mark.parametrize("model", ["exp #2", "2024", "null", "a: b", "naïve 😀"])
def test_a_model_is_evaluated_by_the_very_name_that_is_given(model, monkeypatch):
    asked = []

    def prepare(config: TrainConfig, *rest: object, **more: object) -> None:
        asked.append(config.model)
        raise RunError("seen enough")

    monkeypatch.setattr(evaluate, "prepare", prepare)
    with pytest.raises(RunError, match="seen enough"):
        evaluate.evaluate_model(model, None, [], None)
    assert asked == [model]
