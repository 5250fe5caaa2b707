"""Seeds with data of their own, and readings at equal cost: every number against the definition."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_comparison import PROMPTS, make

from gdro.config.base import ConfigError
from gdro.lab.compare_page import write_page
from gdro.lab.compare_plan import ComparisonPlan, jobs_of, narrowed, plan_text, read_plan
from gdro.lab.compare_record import comparison_of, read_comparison
from gdro.lab.compare_scores import Judge
from gdro.lab.compare_summary import summarize
from gdro.lab.compare_table import markdown
from gdro.lab.stats import base_bins, seed_interval

SEEDS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def replicates(tmp_path_factory):
    """Four seeds, each tested on prompts of its own."""
    root = tmp_path_factory.mktemp("replicates")
    plan = make(root, {"plain": 0.05, "better": 0.25}, seeds=SEEDS)
    for seed in SEEDS:
        for path in root.glob(f"*/seed-{seed}/evaluations/*.jsonl"):
            path.write_text(path.read_text().replace('"id": "p', f'"id": "{seed}-p'))
    plan = plan.model_copy(update={"by_seed": tuple({"seed": s, "data.seed": s} for s in SEEDS)})
    return root, read_comparison(root, plan)


def last(root, method, seed):
    lines = (
        (root / method / f"seed-{seed}" / "evaluations" / "step-000100.jsonl")
        .read_text()
        .splitlines()
    )
    return np.array([json.loads(line)["correct"] for line in lines]) / 8


def first(root, seed):
    lines = (
        (root / "plain" / f"seed-{seed}" / "evaluations" / "step-000000.jsonl")
        .read_text()
        .splitlines()
    )
    return np.array([json.loads(line)["correct"] for line in lines]) / 8


def test_a_score_is_one_number_a_replicate_and_the_interval_is_students(replicates):
    root, comparison = replicates
    summary = summarize(comparison)
    assert summary["fresh_data"]
    scores = summary["methods"]["better"]["scores"]
    gaps = [last(root, "better", s).mean() - last(root, "plain", s).mean() for s in SEEDS]
    wanted = seed_interval(gaps)
    found = scores["mean_at_k"]["difference"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )
    assert found["relative"] == pytest.approx(
        np.mean(gaps) / np.mean([last(root, "plain", s).mean() for s in SEEDS])
    )
    worst = []
    for seed in SEEDS:
        groups = base_bins(first(root, seed))[1]
        worst.append(min(last(root, "better", seed)[row > 0].mean() for row in groups))
    assert scores["worst_bin"]["value"] == pytest.approx(np.mean(worst))
    assert scores["worst_bin"]["low"] == pytest.approx(seed_interval(worst).low)


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """Prompts of three families, of 30, 30 and 60; two cells each; one claim about the worst."""
    root = tmp_path_factory.mktemp("families")
    plan = make(root, {"plain": 0.05, "better": 0.25})
    for path in root.glob("*/seed-*/evaluations/*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for place, row in enumerate(rows):
            row["id"] = f"gym/{'abcc'[place // 30]}/{place % 2}/{place}"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = {"win": "up {gap} ({relative})", "open": "open", "loss": "loss"}
    claim = {"method": "better", "against": "plain", "score": "worst_family", **said}
    plan = ComparisonPlan.model_validate(plan.model_dump() | {"claims": [claim]})
    return root, read_comparison(root, plan)


def test_the_worst_family_is_the_lowest_mean_of_cells_with_one_name(families):
    root, comparison = families
    summary = summarize(comparison)
    seeds = np.array([last(root, "better", seed) for seed in (0, 1, 2)]).mean(axis=0)
    lowest = min(seeds[:30].mean(), seeds[30:60].mean(), seeds[60:].mean())
    assert summary["methods"]["better"]["scores"]["worst_family"]["value"] == pytest.approx(lowest)
    assert "worst_family" in summary["methods"]["better"]["at_equal_cost"]["tokens"]
    assert summary["claims"][0]["verdict"] == "win"
    assert "mean@8, worst family" in markdown(summary)


def test_one_family_has_no_worst(replicates):
    assert "worst_family" not in summarize(replicates[1])["base"]


def test_words_say_replicates(replicates, tmp_path):
    summary = summarize(replicates[1])
    text = markdown(summary)
    assert "paired by replicate (data and held-out prompts of its own)" in text
    assert "; tier (prompts)" not in text
    write_page(tmp_path, summary)
    assert "4 replicates" in (tmp_path / "figure.svg").read_text()


def test_a_replicate_without_the_baseline_says_nothing(replicates):
    _, comparison = replicates
    runs = {
        "plain": {s: comparison.runs["plain"][s] for s in SEEDS[1:]},
        "better": comparison.runs["better"],
    }
    summary = summarize(comparison_of(comparison.plan, runs, {}, replicates[0]))
    assert summary["missing"] == ["plain seed 0"]
    assert summary["methods"]["better"]["seeds"] == [1, 2, 3]


def at(curve, spent, cost):
    """(P,) between evaluations."""
    return np.array([np.interp(cost, spent, column) for column in np.asarray(curve).T])


def test_equal_cost_reads_both_curves_where_both_had_spent_the_same(tmp_path):
    """`better` costs half as much again: it is read at two thirds of its run; its own end is the
    baseline's middle."""
    plan = make(tmp_path, {"plain": 0.05, "better": 0.25})
    read = read_comparison(tmp_path, plan)
    spent = (0.0, 300.0, 600.0)
    runs = {
        "plain": {
            s: replace(r, tokens=(0.0, 200.0, 400.0), seconds=(0.0, np.nan, 9.0))
            for s, r in read.runs["plain"].items()
        },
        "better": {s: replace(r, tokens=spent) for s, r in read.runs["better"].items()},
    }
    comparison = comparison_of(plan, runs, {}, tmp_path)
    summary = summarize(comparison)
    found = summary["methods"]["better"]["at_equal_cost"]
    assert set(found) == {"tokens"}, "seconds are not known throughout"
    gaps = [
        (at(runs["better"][s].correct / 8, spent, 400.0) - runs["plain"][s].correct[-1] / 8).mean()
        for s in (0, 1, 2)
    ]
    assert found["tokens"]["mean_at_k"]["value"] == pytest.approx(np.mean(gaps))
    assert "mean@8, equal tokens" in markdown(summary)
    cheap = {
        m: {s: replace(r, tokens=(0.0, 50.0, 100.0)) for s, r in by.items()}
        if m == "better"
        else by
        for m, by in runs.items()
    }
    gap = Judge(comparison_of(plan, cheap, {}, tmp_path)).estimate(
        "mean_at_k", "better", "plain", cost="tokens"
    )
    gaps = [
        (
            cheap["better"][s].correct[-1] / 8
            - at(cheap["plain"][s].correct / 8, (0, 200, 400), 100.0)
        ).mean()
        for s in (0, 1, 2)
    ]
    assert gap.value == pytest.approx(np.mean(gaps))
    assert len(cheap["plain"][0].ids) == PROMPTS


PLAN = """
name: fresh
seeds: [7, 9]
by_seed:
- {seed: 7, data.seed: 7}
- {seed: 9, data.seed: 9, data.size: 40}
methods:
  plain: {controller: uniform}
  both: {controller: joint}
"""


def test_what_by_seed_says_holds_for_every_method_of_that_seed(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    plan = read_plan(path)
    found = {
        (job.method, job.seed): (job.config.data.seed, job.config.data.size)
        for job in jobs_of(plan, tmp_path)
    }
    assert found[("plain", 7)] == found[("both", 7)] == (7, 16384)
    assert found[("plain", 9)] == found[("both", 9)] == (9, 40)
    path.write_text(plan_text(plan))
    assert read_plan(path) == plan
    assert narrowed(plan, [], [9], []).by_seed == ({"seed": 9, "data.seed": 9, "data.size": 40},)
    with pytest.raises(ConfigError, match="says what each seed is"):
        narrowed(plan, [], [8], [])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("- {seed: 7, data.seed: 7}\n", "", "by_seed.*name every seed of the plan once"),
        ("seed: 7, data.seed: 7", "seed: 7, run_name: x", "by_seed.*run_name is given to each run"),
    ],
)
def test_a_wrong_by_seed_is_refused(tmp_path, old, new, said):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        read_plan(path)
