"""Table and page of made-up comparisons: the right numbers, honest words, and every damage
named."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from fake_comparison import PROMPTS, make, write_evaluation, write_record

from gdro.lab.compare_page import headline, page, write_page
from gdro.lab.compare_record import _notes, read_comparison
from gdro.lab.compare_summary import rounded, summarize
from gdro.lab.compare_table import markdown
from gdro.report.read import RecordError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, plan, summary): `better` adds 0.2 to every rate, `same` as much as the baseline."""
    root = tmp_path_factory.mktemp("fake")
    plan = make(root, {"plain": 0.05, "better": 0.25, "same": 0.05})
    return root, plan, summarize(read_comparison(root, plan))


def test_a_gain_is_found_where_there_is_one(made):
    summary = made[2]
    better, same = summary["methods"]["better"]["scores"], summary["methods"]["same"]["scores"]
    for name in ("pass_at_k", "mean_at_k", "worst_bin", "hardest_fifth", "area_mean"):
        gap = better[name]["difference"]
        assert gap["low" if name != "worst_bin" else "value"] > 0, name
        assert abs(same[name]["difference"]["value"]) < 0.08, name
    assert better["mean_at_k"]["difference"]["value"] == pytest.approx(0.18, abs=0.04)
    assert better["hardest_fifth"]["difference"]["value"] == pytest.approx(0.2, abs=0.05)
    assert "difference" not in summary["methods"]["plain"]["scores"]["pass_at_k"]
    gap = better["mean_at_k"]["difference"]
    plain = summary["methods"]["plain"]["scores"]["mean_at_k"]["value"]
    assert gap["relative"] == pytest.approx(gap["value"] / plain)


def test_values_are_plain_means_of_the_evaluation_files(made):
    root, _, summary = made
    correct = []
    for seed in (0, 1, 2):
        lines = (
            (root / "better" / f"seed-{seed}" / "evaluations" / "step-000100.jsonl")
            .read_text()
            .splitlines()
        )
        correct.append([json.loads(line)["correct"] for line in lines])
    scores = summary["methods"]["better"]["scores"]
    assert scores["mean_at_k"]["value"] == pytest.approx(np.mean(correct) / 8)
    assert scores["pass_at_k"]["value"] == pytest.approx(np.mean(np.array(correct) > 0))
    assert sum(part["prompts"] for part in summary["bins"]) <= PROMPTS


def test_costs_and_where_the_baseline_is_reached(made):
    methods = made[2]["methods"]
    better = methods["better"]
    assert (better["rollouts"], better["tokens"], better["seconds"]) == (25600, 256000, 50)
    assert better["trained_tokens"] == 102400
    assert "| rollouts | tokens | trained tokens | seconds |" in markdown(made[2])
    assert better["dead_groups"]["value"] == 0.25
    reach = better["rollouts_to_baseline"]["mean_at_k"]
    assert reach["seeds"] == 3
    assert 0 < reach["rollouts"] < 12800
    assert methods["plain"]["rollouts_to_baseline"]["mean_at_k"]["rollouts"] <= 25600


def test_scores_by_training_shares_where_the_held_out_ones_differ(tmp_path):
    """Two sources of 60 held-out prompts each, of which one has nine in ten of the training
    prompts."""
    plan = make(tmp_path, {"plain": 0.05, "better": 0.25})
    for path in tmp_path.glob("*/*/evaluations/*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        named = [
            row | {"id": f"{'hard' if i < PROMPTS // 2 else 'easy'}/{i}"}
            for i, row in enumerate(rows)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in named))
    summary = summarize(
        read_comparison(tmp_path, plan, {seed: {"hard": 100, "easy": 900} for seed in (0, 1, 2)})
    )
    scores = summary["methods"]["better"]["scores"]
    rates = []
    for path in sorted(tmp_path.glob("better/*/evaluations/step-000100.jsonl")):
        correct = (
            np.array([json.loads(line)["correct"] for line in path.read_text().splitlines()]) / 8
        )
        rates.append(0.1 * correct[: PROMPTS // 2].mean() + 0.9 * correct[PROMPTS // 2 :].mean())
    assert scores["trained_mean"]["value"] == pytest.approx(np.mean(rates))
    assert scores["source_mean"]["value"] == pytest.approx(scores["mean_at_k"]["value"])
    text = markdown(summary)
    assert "pass@8, shares of training" in text
    assert "sources alike" not in text
    assert "shares of training" in page(summary)


def test_a_target_below_the_start_is_not_sold_as_speed(tmp_path):
    plan = make(tmp_path, {"plain": -0.3, "other": 0.0})
    text = markdown(summarize(read_comparison(tmp_path, plan)))
    assert "before training (3 of 3 seeds)" in text


def test_the_markdown_marks_what_is_clear_only(made):
    rows = {
        line.split("|")[1].strip(): line
        for line in markdown(made[2]).splitlines()
        if line.startswith("| `")
    }
    assert "`plain`" in rows
    text = markdown(made[2])
    assert re.search(r"\| `better` \| 3 \| 0\.\d{3} \(\*\*\+0\.\d{3} ± 0\.\d{3}\*\*\)", text)
    assert "not adjusted for the number of methods" in text


def test_the_headline_claims_no_more_than_the_interval(tmp_path, made):
    assert headline(made[2]).startswith("better has the highest pass@8: +")
    plan = make(tmp_path / "even", {"plain": 0.05, "same": 0.05})
    assert headline(summarize(read_comparison(tmp_path / "even", plan))).startswith("No method is")
    plan = make(tmp_path / "alone", {"plain": 0.05})
    assert "nothing to compare" in headline(summarize(read_comparison(tmp_path / "alone", plan)))


def test_the_files_are_self_contained_and_the_same_each_time(made, tmp_path):
    summary = made[2]
    write_page(tmp_path, summary)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"table.md", "results.json", "figure.svg", "report.html"}
    write_page(tmp_path, summary)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    svg = first["figure.svg"].decode()
    ElementTree.fromstring(svg)
    assert "var(--" not in svg
    html = page(summary)
    assert not re.search(r'(?:src|href)="|url\(|@import|https?://(?!www\.w3\.org)', html)
    assert "$" not in re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for method in ("plain", "better", "same"):
        assert method in html
    assert json.loads(first["results.json"])["baseline"] == "plain"


def test_unfinished_runs_are_missing_and_the_rest_stays_paired(tmp_path):
    plan = make(tmp_path, {"plain": 0.05, "other": 0.1})
    write_record(tmp_path / "other" / "seed-1", end=False)
    comparison = read_comparison(tmp_path, plan)
    assert comparison.missing == ("other seed 1",)
    summary = summarize(comparison)
    assert summary["methods"]["other"]["seeds"] == [0, 2]
    assert "Missing: other seed 1." in markdown(summary)
    assert "Not finished: other seed 1." in page(summary)


def test_one_seed_is_said_to_be_one(tmp_path):
    plan = make(tmp_path, {"plain": 0.05, "other": 0.1}, seeds=(4,))
    summary = summarize(read_comparison(tmp_path, plan))
    for text in (page(summary), markdown(summary)):
        assert "One seed" in text


def test_runs_that_did_not_start_alike_are_noted(tmp_path):
    plan = make(tmp_path, {"plain": 0.05, "other": 0.1})
    write_evaluation(tmp_path / "other" / "seed-2", 0, np.zeros(PROMPTS, int))
    notes = read_comparison(tmp_path, plan).notes
    assert notes == ("other seed 2 answered differently from plain before training.",)


def test_a_method_that_spent_other_rollouts_is_noted_once(tmp_path):
    plan = make(tmp_path, {"plain": 0.05, "other": 0.1}, seeds=(0, 1, 2))
    for seed, times in ((0, 3), (2, 4)):
        record = tmp_path / "other" / f"seed-{seed}" / "metrics.jsonl"
        events = [json.loads(line) for line in record.read_text().splitlines()]
        for event in events:
            if event["event"] == "step":
                event["rollouts_total"] *= times
        record.write_text("".join(json.dumps(event) + "\n" for event in events))
    notes = read_comparison(tmp_path, plan).notes
    assert notes == ("other spent 76,800 to 102,400 rollouts (seeds 0, 2), plain 25,600.",)


def test_a_method_that_made_other_steps_of_its_rollouts_is_noted(
    tmp_path,
):
    plan = make(tmp_path, {"plain": 0.05, "other": 0.1})
    read = read_comparison(tmp_path, plan)
    spent = {0: (0.0, 12800.0, 25600.0), 1: (0.0, 12864.0, 25664.0), 2: (0.0, 13000.0, 25616.0)}
    runs = read.runs | {
        "other": {
            seed: replace(outcome, steps=(0, 20 + seed, 40 + seed), rollouts=spent[seed])
            for seed, outcome in read.runs["other"].items()
        }
    }
    assert _notes(runs, "plain") == [
        "other spent 25,616 to 25,664 rollouts (seeds 1, 2), plain 25,600.",
        "other made 40 to 42 steps of its rollouts, plain 100.",
    ]
    entry = summarize(replace(read, runs=runs))["methods"]["other"]
    assert entry["curve"]["rollouts"] == pytest.approx([0.0, 12888.0, 25626.66667])
    assert entry["rollouts"] == pytest.approx(25626.66667)


def test_what_cannot_be_compared_is_one_clear_error(tmp_path):
    plan = make(tmp_path, {"plain": 0.05, "other": 0.1})
    run = tmp_path / "other" / "seed-0"
    for step in (0, 50, 100):
        write_evaluation(run, step, np.zeros(PROMPTS - 1, int))
    with pytest.raises(RecordError, match="seed-0: evaluated on other prompts"):
        read_comparison(tmp_path, plan)
    write_record(run, end=True, evaluated=(0, 100))
    write_evaluation(run, 0, np.zeros(PROMPTS, int))
    write_evaluation(run, 100, np.zeros(PROMPTS, int))
    with pytest.raises(RecordError, match="seed-0: evaluated at other moments"):
        read_comparison(tmp_path, plan)
    write_record(run, end=True)
    (run / "evaluations" / "step-000050.jsonl").write_text('{"id": "p0"')
    with pytest.raises(RecordError, match=r"step-000050\.jsonl: damaged"):
        read_comparison(tmp_path, plan)
    (run / "evaluations" / "step-000050.jsonl").unlink()
    with pytest.raises(RecordError, match="missing, though the record names"):
        read_comparison(tmp_path, plan)
    for seed in (0, 1, 2):
        write_record(tmp_path / "plain" / f"seed-{seed}", end=False)
    write_record(run, end=False)
    with pytest.raises(RecordError, match="no run of the baseline plain is finished"):
        read_comparison(tmp_path, plan)


@pytest.mark.parametrize("tie", [0.0085400390625, -0.0004, 0.8501234567891])
def test_what_the_order_of_summing_adds_does_not_decide_a_digit(tie):
    around = [np.nextafter(tie, -1.0), tie, np.nextafter(tie, 1.0)]
    assert len({rounded(float(value)) for value in around}) == 1


def test_nothing_has_no_sign():
    assert str(rounded(-1.1e-16)) == "0.0"
    assert rounded({"a": [1 / 3, "b", 2, None]}) == {"a": [0.3333333333, "b", 2, None]}
