"""Several runs on one page: what differs, the paired change, and what forbids a comparison."""

from __future__ import annotations

import json
import re

import pytest
from fake_record import FakeRun, write

from gdro.cli import main
from gdro.report import RecordError, write_side_by_side
from gdro.report.side_by_side import NamedRun, notes, read_record, result_rows, setting_rows


def evaluated(folder, run, correct):
    """A run with the per-prompt file of its last evaluation."""
    write(folder, run)
    path = folder / "evaluations" / f"step-{run.steps:06d}.jsonl"
    rows = [{"id": f"a/{n}", "source": "a", "correct": c, "samples": 8} for n, c in correct.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    root = tmp_path_factory.mktemp("pair")
    first = evaluated(root / "joint-001", FakeRun(12), {n: 4 for n in range(20)})
    other = FakeRun(12, seed=1, controller="uniform")
    # prompt 99 is not in both and must not count
    second = evaluated(root / "uniform-001", other, {n: 6 for n in range(20)} | {99: 0})
    return first, second


def runs_of(pair):
    return [NamedRun(folder.name, read_record(folder)) for folder in pair]


def test_the_paired_change_is_over_the_prompts_of_both(pair):
    rows = {row[0]: row[1:] for row in result_rows(runs_of(pair))}
    assert rows["mean@8 against A, same prompts"] == [
        "–",
        "+0.25 [+0.25, +0.25], 20 prompts",
    ]
    assert rows["pass@8 against A, same prompts"] == ["–", "0.00 [0.00, 0.00], 20 prompts"]
    assert rows["rollouts"] == ["3,072", "3,072"]


def test_only_settings_that_differ_are_listed(pair):
    assert setting_rows(runs_of(pair)) == [["controller.name", "joint", "uniform"]]


def test_other_held_out_prompts_are_said(pair):
    runs = runs_of(pair)
    assert not any("cannot be compared" in note for note in notes(runs))
    runs[1].record.start["fingerprints"] = {"held-out": "other"}
    assert any("cannot be compared" in note for note in notes(runs))


def test_the_page_stands_beside_the_first_run_and_is_whole(pair, capsys):
    assert main(["report", *map(str, pair)]) == 0
    path = pair[0].parent / "joint-001-uniform-001.html"
    assert capsys.readouterr().out.strip() == str(path)
    page = path.read_text()
    assert len(re.findall("<figure ", page)) == 6  # two scores and four curves
    assert not re.search(r"(src|href)\s*=|@import|url\(|https?://|\bnan\b", page)
    again = page
    write_side_by_side(pair)
    assert path.read_text() == again


def test_a_run_that_has_just_begun_beside_one_that_ended(pair, tmp_path):
    (tmp_path / "new").mkdir()
    start = (pair[0] / "metrics.jsonl").read_text().splitlines()[0]
    (tmp_path / "new" / "metrics.jsonl").write_text(start + "\n")
    page = write_side_by_side([pair[0], tmp_path / "new"], tmp_path / "page.html").read_text()
    assert "No warning from any check" in page
    ended, begun = (NamedRun("run", read_record(folder)) for folder in (pair[0], tmp_path / "new"))
    assert any("different numbers of rollouts" in note for note in notes([ended, begun]))
    assert not any("different numbers of rollouts" in note for note in notes([begun, begun]))


def test_what_cannot_be_set_side_by_side_is_refused(pair, tmp_path, capsys):
    with pytest.raises(RecordError, match="two to 4"):
        write_side_by_side([pair[0]] * 5)
    with pytest.raises(RecordError, match="given twice"):
        write_side_by_side([pair[0], pair[0] / "metrics.jsonl"])
    assert main(["report", str(pair[0]), "--output", str(tmp_path / "x.html")]) == 2
    assert "--output belongs to several runs" in capsys.readouterr().err


def test_names_that_are_the_same_are_told_apart_by_their_parents(tmp_path):
    folders = [write(tmp_path / parent / "run", FakeRun(6)) for parent in ("a", "b")]
    page = write_side_by_side(folders, tmp_path / "page.html").read_text()
    assert "a/<wbr>run" in page
    assert "b/<wbr>run" in page
