"""The published comparisons follow from the outcomes that are published with them."""

from __future__ import annotations

import json
import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from gdro.lab import compare
from gdro.lab.compare_plan import jobs_of, locate_plan, plan_names, read_plan
from gdro.lab.stats import Estimate
from gdro.runs.errors import RunError

EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"
PUBLISHED = sorted(path.parent for path in EVIDENCE.glob("*/compare.yaml"))


def pages() -> str:
    """The pages that show the published comparisons."""
    return "".join((EVIDENCE.parent / name).read_text() for name in ("evidence.md", "evidence_earlier.md"))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_table_and_figures_follow_from_the_outcomes(folder, tmp_path, capsys):
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    for made in ("table.md", "results.json", "figure.svg"):
        (copy / made).unlink()
    compare.main([str(copy), "--report"])
    assert (copy / "table.md").read_text() == (folder / "table.md").read_text()
    assert (copy / "figure.svg").read_bytes() == (folder / "figure.svg").read_bytes()
    again, kept = (json.loads((place / "results.json").read_text()) for place in (copy, folder))
    assert again == kept
    rows = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("|")]
    page = pages()
    assert rows
    assert all(row in page for row in rows), "the pages show another table than the outcomes give"


def test_another_method_can_be_the_baseline(capsys):
    """The table alone, printed: nothing in the folder changes."""
    folder = EVIDENCE / "few_prompts"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert compare.main([str(folder), "--against", "joint"]) == 0
    said = capsys.readouterr().out
    assert "difference from `joint`" in said
    joint = next(line for line in said.splitlines() if line.startswith("| `joint`"))
    uniform = next(line for line in said.splitlines() if line.startswith("| `uniform`"))
    assert "±" not in joint
    assert "(-0.005 ± 0.017)" in uniform, "the other side of joint's difference from uniform"
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    with pytest.raises(RunError, match="--against jiont: not in the plan"):
        compare.main([str(folder), "--against", "jiont"])


def test_something_is_published():
    assert [folder.name for folder in PUBLISHED] == [
        "ablation",
        "ablation_earlier",
        "classifier",
        "confirm_first",
        "confirm_second",
        "confirm_third",
        "few_prompts",
        "few_prompts_second",
        "first",
        "fresh",
        "larger",
        "learning_rate",
        "longer",
        "repeat_first",
        "rounds",
        "second",
        "sensitivity",
        "settling_first",
        "settling_second",
        "settling_third",
        "small_steps",
        "spread_first",
        "tenth",
        "tenth_ablation",
        "tenth_second",
        "third",
    ]


@pytest.mark.parametrize("name", sorted(set(plan_names()) & {folder.name for folder in PUBLISHED}))
def test_a_plan_of_the_package_still_trains_what_was_published(name):
    """The recipe may have changed since; what its rows mean may not have."""
    ours, published = locate_plan(name), EVIDENCE / name / "compare.yaml"
    assert jobs_of(read_plan(ours), ours.parent) == jobs_of(read_plan(published), published.parent)


def test_the_gain_by_the_tails_share_follows_from_its_outcomes(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EVIDENCE.parents[1] / "benchmarks"))
    folder, copy = EVIDENCE / "tails", tmp_path / "tails"
    shutil.copytree(folder, copy)
    (copy / "table.md").unlink()
    assert import_module("tails").main([str(copy), "--report"]) == 0
    table = (copy / "table.md").read_text()
    assert table == (folder / "table.md").read_text()
    assert table in (EVIDENCE.parent / "evidence.md").read_text()


def test_the_gain_on_mixtures_drawn_at_random_follows_from_its_outcomes(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EVIDENCE.parents[1] / "benchmarks"))
    drawn = import_module("drawn_mixtures")
    folder, copy = EVIDENCE / "drawn", tmp_path / "drawn"
    shutil.copytree(folder, copy)
    (copy / "table.md").unlink()
    (copy / "means.json").unlink()
    assert drawn.main([str(copy), "--report"]) == 0
    assert json.loads((copy / "means.json").read_text()) == json.loads((folder / "means.json").read_text())
    table = (copy / "table.md").read_text()
    assert table == (folder / "table.md").read_text()
    assert table in (EVIDENCE.parent / "evidence.md").read_text()
    for number, name in drawn.MIXTURES.items():
        plan = read_plan(folder / name / "compare.yaml")
        assert plan.model_copy(update={"recipe": "default"}) == drawn.plan_of(number)


def test_the_larger_model_was_compared_by_the_plan_that_its_script_has(monkeypatch):
    monkeypatch.syspath_prepend(str(EVIDENCE.parents[1] / "benchmarks"))
    published = read_plan(EVIDENCE / "larger" / "compare.yaml").model_copy(update={"recipe": "default"})
    assert published == import_module("larger_model").plan_of(Path("runs/larger/base"))


def test_the_readme_shows_the_published_comparison(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EVIDENCE.parents[1] / "benchmarks"))
    headline = import_module("headline")
    assert headline.main([str(EVIDENCE / "confirm_first")]) == 0
    assert capsys.readouterr().out in (EVIDENCE.parents[1] / "README.md").read_text()
    assert headline.main([str(EVIDENCE / "nowhere")]) == 2
    assert "nowhere/results.json is not there" in capsys.readouterr().err


def test_the_pages_begin_with_the_default_run_everywhere(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EVIDENCE.parents[1] / "benchmarks"))
    at_a_glance = import_module("at_a_glance")
    page, readme = pages(), (EVIDENCE.parents[1] / "README.md").read_text()
    assert at_a_glance.main([str(EVIDENCE)]) == 0
    assert capsys.readouterr().out in page
    assert at_a_glance.main([str(EVIDENCE), "--readme"]) == 0
    assert capsys.readouterr().out in readme
    for where in at_a_glance.COMPARISONS.values():
        heads = [line.lstrip("#").strip().lower() for line in page.splitlines() if line.startswith("#")]
        anchors = [re.sub(r"[^a-z0-9 -]", "", head).replace(" ", "-") for head in heads]
        assert where.anchor in anchors


def test_mixtures_together_and_sources_apart(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EVIDENCE.parents[1] / "benchmarks"))
    page = pages()
    mixtures, by_source = import_module("mixtures"), import_module("by_source")
    apart = [str(EVIDENCE / f"confirm_{name}") for name in ("first", "second", "third")]
    assert mixtures.main([*apart, "--against", "live"]) == 0
    assert capsys.readouterr().out in page
    methods = ["uniform", "sources_alike", "joint", "sec", "greso"]
    assert by_source.main([str(EVIDENCE / "second"), "--methods", *methods]) == 0
    assert capsys.readouterr().out in page
    assert mixtures.main([str(EVIDENCE / "first"), "--against", "lvie"]) == 2
    assert "--against lvie: not in" in capsys.readouterr().err
    assert by_source.main([str(EVIDENCE / "first"), "--methods", "lvie"]) == 2
    assert "--methods lvie: no finished run in" in capsys.readouterr().err


def test_the_mean_over_mixtures_has_the_interval_of_independent_means(monkeypatch):
    monkeypatch.syspath_prepend(str(EVIDENCE.parents[1] / "benchmarks"))
    gap = import_module("mixtures").together([Estimate(0.02, -0.01, 0.05), Estimate(0.04, 0.0, 0.08)])
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.03, 0.03 - 0.025, 0.03 + 0.025))
