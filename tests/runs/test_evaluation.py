"""Evaluation events: figures by hand, bins fixed by the base, paired change."""

import json

import numpy as np

from gdro.data.prompts import Prompt
from gdro.runs.evaluation import Evaluation, event, load_evaluation


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
