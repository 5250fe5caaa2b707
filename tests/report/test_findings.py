"""What to look at: each check warns past its threshold, is silent before it, and says when it
has no data."""

from __future__ import annotations

import json

import pytest
from fake_record import FakeRun, clean, write

from gdro.report import read_record, write_report
from gdro.report.findings import CHECKS, findings


def story(steps=40, **options):
    return list(FakeRun(steps, **options).events())


def steps_of(events):
    return [event for event in events if event["event"] == "step"]


def record_of(folder, events):
    (folder / "metrics.jsonl").write_text("\n".join(json.dumps(clean(event)) for event in events))
    return read_record(folder)


def warned(record):
    return {finding.name: finding for finding in findings(record) if finding.warns}


def test_a_healthy_run_passes_every_check_with_a_figure(run):
    found = findings(read_record(run))
    assert len(found) == len(CHECKS)
    assert not any(finding.warns for finding in found)
    missing = [finding.name for finding in found if not finding.figure]
    assert missing == ["Answers cut off at the limit"]  # the fake record does not hold it


@pytest.mark.parametrize(("last", "warns"), [(0.11, False), (0.09, True)])
def test_entropy_collapse_is_measured_against_the_start(tmp_path, last, warns):
    events = story()
    for event in steps_of(events):
        event["entropy"] = 1.0 if event["step"] <= 36 else last
    found = warned(record_of(tmp_path, events))
    assert ("Entropy" in found) == warns
    if warns:
        assert "9% of 1 at the start" in found["Entropy"].figure


def test_a_short_run_has_no_trend_of_entropy(tmp_path):
    events = story(10)
    for event in steps_of(events):
        event["entropy"] = 1.0 / event["step"] ** 3
    assert "Entropy" not in warned(record_of(tmp_path, events))


@pytest.mark.parametrize(("share", "warns"), [(0.04, False), (0.06, True)])
def test_cut_off_answers(tmp_path, share, warns):
    events = story()
    for event in steps_of(events):
        event["completions_cut"] = 0.5 if event["step"] < 10 else share
    assert ("Answers cut off at the limit" in warned(record_of(tmp_path, events))) == warns


@pytest.mark.parametrize(("share", "warns"), [(0.79, False), (0.81, True)])
def test_groups_without_a_gradient(tmp_path, share, warns):
    events = story()
    for event in steps_of(events):
        event["controller"]["zero_variance_share"] = share
    assert ("Groups without a gradient" in warned(record_of(tmp_path, events))) == warns


@pytest.mark.parametrize(
    ("signal", "advice"), [("failure", "controller.eta"), (None, "controller.signal=failure")]
)
def test_an_adversary_that_does_nothing_names_the_setting(tmp_path, signal, advice):
    events = story(informative=0)
    if signal:
        events[0]["config"]["controller"]["signal"] = signal
    found = warned(record_of(tmp_path, events))
    name = f"The adversary's `{signal}` signal" if signal else "The adversary"
    assert set(found) == {name}
    assert advice in found[name].advice


def test_a_first_epoch_of_unseen_prompts_is_no_fault_of_the_adversary(tmp_path):
    events = story(4, informative=0)
    for event in steps_of(events):
        event["controller"]["share"] = [0.0] * 10
    assert warned(record_of(tmp_path, events)) == {}


@pytest.mark.parametrize(("name", "warns"), [("prompt_gdro", True), ("uniform", False)])
def test_prompts_that_never_come_again(tmp_path, name, warns):
    events = story(controller=name)
    for event in steps_of(events):
        event["controller"] |= {"unseen_share": 1.0, "share": [0.0] * 10, "mass": [0.0] * 10}
    assert ("Prompts met before" in warned(record_of(tmp_path, events))) == warns


def test_new_prompts_with_bins_of_their_source_are_no_fault(tmp_path):
    events = story()
    for event in steps_of(events):
        event["controller"]["unseen_share"] = 1.0
    assert warned(record_of(tmp_path, events)) == {}


def test_one_prompt_a_batch(tmp_path):
    events = story()
    for event in steps_of(events):
        event["controller"]["batch_prompts"] = 1
    assert set(warned(record_of(tmp_path, events))) == {"Prompts a batch"}


@pytest.mark.parametrize(("count", "warns"), [(1, False), (2, True)])
def test_answers_that_the_verifier_gave_up_on(tmp_path, count, warns):
    events = story()
    for event in steps_of(events):
        event["verifier"] = {"correct": 100, "wrong": 156 - count, "timed_out": count}
    found = warned(record_of(tmp_path, events))
    assert ("Answers the verifier gave up on" in found) == warns


def test_a_reward_that_one_source_earns(tmp_path):
    events = story()
    for event in steps_of(events):
        for name, entry in event["choice"]["sources"].items():
            entry["reward"] = 0.4 if name.endswith("chain_sum") else 0.0
    found = warned(record_of(tmp_path, events))["Sources that earn a reward"]
    assert found.figure == "1 of 4: reasoning_gym/chain_sum"


def test_an_older_record_is_judged_by_its_evaluations(tmp_path):
    events = story()
    for event in events:
        event.pop("choice", None)
        if event["event"] == "evaluation":
            for name, entry in event["by_source"].items():
                value = 0.4 if name == "chain_sum" else 0.001
                entry["mean_at_k"] = {"value": value, "low": value, "high": value}
    assert "Sources that earn a reward" in warned(record_of(tmp_path, events))


def test_the_page_tells_what_warns_first_with_figure_threshold_and_advice(tmp_path):
    page = write_report(write(tmp_path, FakeRun(30, informative=0))).read_text()
    alert = page[page.index('class="alert"') : page.index('class="checks"')]
    assert page.index('class="alert"') < page.index("<table")
    assert "in 0% of the steps" in alert
    assert "in at most 50%" in alert
    assert "controller.signal=failure" in alert


def test_without_a_step_there_is_nothing_to_check(tmp_path):
    record_of(tmp_path, story()[:1])
    assert 'class="checks"' not in write_report(tmp_path).read_text()
