"""Completions that the report shows: which, with what beside them, and what a damaged file does."""

from __future__ import annotations

import re

import pytest
from fake_record import FakeRun, write
from hypothesis import given
from hypothesis import strategies as st

from gdro.report import RecordError, write_report
from gdro.report.completions import (
    HEAD,
    TAIL,
    Completion,
    Shown,
    chosen_pairs,
    completions_file,
    read_completions,
    shorten,
    write_completions,
)


def shown(prompt_id, correct, samples=8):
    kinds = [True] * (correct > 0) + [False] * (correct < samples)
    kept = tuple(Completion("t", float(k), k, "correct", "a", True) for k in kinds)
    return Shown(prompt_id, "q?", "g", correct, samples, kept)


def by_id(*prompts):
    return {prompt.id: prompt for prompt in prompts}


def test_what_rose_what_fell_and_the_hardest_of_each_source():
    before = by_id(*(shown(f"s/{n}", 4) for n in range(9)), shown("hard/1", 0), shown("hard/2", 0))
    before |= by_id(shown("other/1", 0), shown("easy/1", 8), shown("gone/1", 3))
    gains = {"s/0": 8, "s/1": 7, "s/2": 6, "s/3": 5, "s/4": 0, "s/5": 1}
    after = by_id(
        *(
            shown(name, gains.get(name, prompt.correct))
            for name, prompt in before.items()
            if name != "gone/1"
        )
    )
    found = {
        heading: [pair.before.id for pair in pairs]
        for heading, pairs in chosen_pairs(before, after).items()
    }
    assert found == {
        "Rose most": ["s/0", "s/1", "s/2"],
        "Fell most": ["s/4", "s/5"],
        "Of the hardest tier": ["hard/1", "other/1", "hard/2"],
    }


def test_nothing_changed_and_nothing_hard_shows_nothing():
    same = by_id(shown("a/1", 5))
    assert chosen_pairs(same, same) == {}


def test_the_side_of_a_gain_shows_a_wrong_answer_before_and_a_right_one_after():
    prompt = shown("a/1", 3)
    assert prompt.one(True).right
    assert not prompt.one(False).right
    assert shown("a/1", 0).one(True).right is False  # there is no right one to show


@given(st.text(max_size=2 * (HEAD + TAIL)))
def test_a_long_text_keeps_its_start_and_its_end_and_says_what_is_gone(text):
    short = shorten(text)
    if len(text) <= HEAD + TAIL:
        assert short == text
    else:
        assert short.startswith(text[:HEAD])
        assert short.endswith(text[-TAIL:])
        assert f"{len(text) - HEAD - TAIL:,} characters left out" in short


@given(st.text(st.characters(codec=None), max_size=40))
def test_what_is_written_is_read_back(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("kept")
    kept = (Completion(text, 0.5, False, "partial", None, False),)
    prompt = Shown("a/1", text, "g", 0, 8, kept)
    write_completions(folder, 3, [prompt])
    found = read_completions(folder, 3)["a/1"]
    assert found.completions[0].cause == "partial"
    if not any(0xD800 <= ord(c) < 0xE000 for c in text):  # a lone surrogate is shown as unreadable
        assert found == prompt


def test_a_run_without_kept_completions_says_so(run, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes())
    assert "No completions: this run kept none" in write_report(tmp_path).read_text()


def test_a_damaged_file_is_named(tmp_path):
    write(tmp_path, FakeRun(6))
    completions_file(tmp_path, 6).write_text('{"id": "a/1"}\n')
    with pytest.raises(RecordError, match=r"completions-000006\.jsonl, line 1"):
        write_report(tmp_path)


def test_the_page_shows_verdict_and_answer_and_escapes_the_model(tmp_path):
    write(tmp_path, FakeRun(6))
    kept = (Completion("<script>alert(1)</script>", 0.0, False, "timed_out", None, False),)
    for step in (0, 6):
        write_completions(tmp_path, step, [Shown("a/1", "<b>q</b>", "7", 0, 8, kept)])
    page = write_report(tmp_path).read_text()
    assert "<script>alert" not in page
    assert "&lt;b&gt;q&lt;/b&gt;" in page
    cards = re.findall(r'<details class="card">.*?</details>', page, flags=re.S)
    assert len(cards) == 1
    assert "0/8 → 0/8" in cards[0]
    assert "Answer read: none" in cards[0]
    assert "timed out, cut off at the limit" in cards[0]
