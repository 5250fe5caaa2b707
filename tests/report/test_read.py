"""Reading a record: whatever a crash or an interruption leaves behind."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fake_record import FakeRun, lines

from gdro.report.read import RecordError, read_record


def record_of(folder, text):
    (folder / "metrics.jsonl").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_record(folder)


@pytest.fixture(scope="module")
def story():
    return lines(FakeRun(12))


def test_a_whole_run(run):
    record = read_record(run)
    assert record.steps.tolist() == list(range(1, 61))
    assert record.bins == 10
    assert record.per_bin("share").shape == (60, 10)
    assert record.scalar("seconds.generate").shape == (60,)
    assert record.notes == ()
    assert record.end is not None
    assert [event["step"] for event in record.evaluations] == list(range(0, 61, 10))
    np.testing.assert_allclose(record.per_bin("share").sum(axis=1), 1, atol=1e-5)


def test_the_runs_own_reward_and_the_reward_per_bin_are_both_kept(run):
    record = read_record(run)
    assert record.has("reward")
    assert record.has_bins("reward")
    assert np.isnan(record.per_bin("reward")).any()  # absent bins


def test_the_file_itself_can_be_given(run):
    assert read_record(run / "metrics.jsonl").steps.size == 60


def test_a_cut_last_line_is_noted(tmp_path, story):
    text = "\n".join(story[:6]) + "\n" + story[6][:50]
    record = record_of(tmp_path, text)
    assert any("cut off" in note and "line 7" in note for note in record.notes)
    assert any("no end" in note for note in record.notes)


@pytest.mark.parametrize("damage", [b"{oops", b"\xff\xfe", b"[1, 2]", b'{"step": 3}', b"null"])
def test_a_damaged_line_is_left_out_and_noted(tmp_path, story, damage):
    text = [line.encode() for line in story]
    text.insert(3, damage)
    record = record_of(tmp_path, b"\n".join(text))
    assert any("Line 4" in note for note in record.notes)
    assert record.steps.size == 12


def test_unknown_events_are_counted(tmp_path, story):
    record = record_of(tmp_path, "\n".join([*story, '{"event":"party"}', '{"event":"party"}']))
    assert any("2 events of the unknown kind 'party'" in note for note in record.notes)


def test_a_resume_drops_what_was_lost_and_the_last_step_counts(tmp_path, story):
    steps = [json.loads(line) for line in story if '"event": "step"' in line]
    again = [{**event, "reward": 9.0} for event in steps if 5 <= event["step"] <= 8]
    first = [event for event in steps if event["step"] <= 10]
    story = [
        json.loads(story[0]),
        *first,
        {"event": "end", "step": 10},
        {"event": "resume", "step": 4},
        *again,
    ]
    record = record_of(tmp_path, "\n".join(map(json.dumps, story)))
    assert record.steps.tolist() == list(range(1, 9))
    assert record.scalar("reward")[4:].tolist() == [9.0] * 4
    assert record.end is None
    assert any("resumed at step 4" in note for note in record.notes)


def test_steps_that_occur_twice_without_a_resume_are_noted(tmp_path, story):
    again = {**json.loads(story[3]), "reward": 7.0}
    record = record_of(tmp_path, "\n".join([*story, json.dumps(again)]))
    assert record.scalar("reward")[again["step"] - 1] == 7.0
    assert any("1 step occurs twice" in note for note in record.notes)


def test_no_step_yet(tmp_path, story):
    record = record_of(tmp_path, story[0])
    assert record.steps.size == 0
    assert any("No training step" in note for note in record.notes)


def test_no_start_event(tmp_path, story):
    record = record_of(tmp_path, "\n".join(story[1:]))
    assert record.bins == 10
    assert record.config == {}
    assert any("no start event" in note for note in record.notes)
    np.testing.assert_allclose(record.edges, np.linspace(0, 1, 11))


@pytest.mark.parametrize("text", ["", "\n\n", '{"event": "ste'])
def test_nothing_to_show_is_an_error(tmp_path, text):
    with pytest.raises(RecordError, match="no event of a run yet"):
        record_of(tmp_path, text)


def test_no_record_is_an_error(tmp_path):
    with pytest.raises(RecordError, match=r"metrics\.jsonl"):
        read_record(tmp_path / "nowhere")


@pytest.mark.parametrize("step", [None, "3", -1, True, 2.5])
def test_a_step_without_a_number_is_an_error(tmp_path, story, step):
    event = {"event": "step", "step": step}
    with pytest.raises(RecordError, match="line 2: `step`"):
        record_of(tmp_path, f"{story[0]}\n{json.dumps(event)}\n{story[3]}")


def test_a_list_of_the_wrong_length_is_an_error(tmp_path, story):
    event = {"event": "step", "step": 1, "controller": {"share": [0.5, 0.5]}}
    with pytest.raises(RecordError, match="line 2: `share` has 2 values, the run has 10 bins"):
        record_of(tmp_path, f"{story[0]}\n{json.dumps(event)}")
