"""The sentence and the table."""

from __future__ import annotations

import json
import math

import pytest
from fake_record import FakeRun, clean, write

from gdro.report import read_record, summary
from gdro.report.summary import Change

NAN = math.nan


def test_the_interval_of_a_change_by_hand():
    change = Change((0.30, 0.27, 0.34), (0.40, 0.37, 0.43))
    value, low, high = change.gain
    assert value == pytest.approx(0.10)
    assert low == pytest.approx(0.10 - math.hypot(0.03, 0.04))
    assert high == pytest.approx(0.10 + math.hypot(0.03, 0.03))
    assert change.verdict == "rose"


def test_the_paired_interval_of_the_record_counts(run):
    last = read_record(run).evaluations[-1]
    overall = summary.table(read_record(run))[0].mean
    assert overall.gain[1] == last["change"]["mean_at_k"]["low"]
    assert summary.change({}, {}, "mean_at_k").paired is None


def test_a_resumed_run_says_what_its_seconds_cover(tmp_path):
    events = list(FakeRun(6).events())
    folder = tmp_path / "run"
    folder.mkdir()
    events = [*events[:-1], {"event": "resume", "step": 6}, events[-1]]
    (folder / "metrics.jsonl").write_text("\n".join(json.dumps(clean(event)) for event in events))
    assert summary.headline(read_record(folder)).endswith("2 s since it was resumed")


def test_verdicts():
    wide = (0.5, 0.4, 0.6)
    assert Change(wide, wide).verdict == "no clear change"
    assert Change((0.9, 0.88, 0.92), wide).verdict == "fell"
    assert Change(wide, (NAN, NAN, NAN)).verdict == "no clear change"


def test_signs():
    assert [summary.signed(v) for v in (0.051, -0.2, -0.001, 0.0, NAN)] == [
        "+0.05",
        "−0.20",
        "0.00",
        "0.00",
        "–",
    ]


def test_headline(run):
    text = summary.headline(read_record(run)).replace("\u00a0", " ")
    assert text.startswith("mean@8 0.")
    assert ", pass@8 0." in text
    assert text.endswith("in 60 steps, 15,360 rollouts, 23 s")


def test_the_table_has_every_bin_and_source(run):
    rows = summary.table(read_record(run))
    names = [row.name for row in rows]
    assert names[0] == "All prompts"
    assert "tier 0" in names
    assert names[-4:] == ["chain_sum", "letter_counting", "number_sorting", "spell_backward"]
    assert rows[0].prompts == "256"
    assert {row.name for row in rows if row.by_answers} == {n for n in names if n[:5] == "tier "}


def test_what_was_cut_clipped_or_dropped_is_said(tmp_path):
    events = list(FakeRun(4).events())
    events[0]["data"] = {"duplicates": 3, "contradictions": 0}
    for event in events:
        if event["event"] == "step":
            event["completions_cut"] = 0.25
            event["controller"]["out_of_range"] = 2
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(clean(event)) for event in events))
    assert summary.counted(read_record(tmp_path)) == [
        "25.0% of the completions were cut off at the token limit.",
        "Clipped: 8 rewards outside the declared range.",
        "Data: 3 prompts occurred twice and were dropped.",
    ]
    assert summary.counted(read_record(write(tmp_path, FakeRun(4)))) == []
