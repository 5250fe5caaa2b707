"""The published comparisons: table and figure follow from each folder alone, its plan can be run
again, and the pages' tables say what results/ says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import results_tables
from gdro.cli import main
from gdro.lab.compare_archive import OUTCOMES, is_archive, load_archive, published_settings
from gdro.lab.compare_page import published_files
from gdro.lab.compare_plan import PLAN, jobs_of, narrowed, read_plan
from gdro.lab.compare_summary import summarize
from gdro.report import RecordError

RESULTS = Path(__file__).resolve().parents[2] / "results"
PUBLISHED = sorted(folder for folder in RESULTS.iterdir() if is_archive(folder))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_table_and_figure_follow_from_the_folder_alone(folder):
    made = published_files(summarize(load_archive(folder)))
    assert {path.name for path in folder.iterdir()} - {"figure.svg"} == {PLAN, OUTCOMES, "table.md"}
    for name in made.keys() & {path.name for path in folder.iterdir()}:
        text = (folder / name).read_text()
        assert text == made[name], f"gdro compare {folder} --report"


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_published_plan_loads_and_says_what_every_published_run_was(folder):
    plan = read_plan(folder / PLAN)
    assert plan.name == folder.name
    assert plan.ran
    assert plan.recipe is None, (
        "the recipe must be written out, so that the plan says all by itself"
    )
    settings = published_settings(folder)
    assert set(plan.methods) == set(settings)
    jobs = jobs_of(narrowed(plan, [], plan.seeds[:1], []), folder)
    for job in jobs:
        assert job.config.controller.name == settings[job.method][job.seed]["controller.name"]


def test_the_command_writes_what_is_published(tmp_path, capsys):
    folder = RESULTS / "control"
    copy = tmp_path / "control"
    copy.mkdir()
    for name in (PLAN, OUTCOMES):
        shutil.copy(folder / name, copy / name)
    assert main(["compare", str(copy), "--report"]) == 0
    assert {path.name for path in copy.iterdir()} == {PLAN, OUTCOMES, "table.md", "figure.svg"}
    for path in folder.iterdir():
        assert (copy / path.name).read_bytes() == path.read_bytes()
    assert capsys.readouterr().out == (folder / "table.md").read_text()


def test_another_method_can_be_the_baseline_and_nothing_is_written(capsys):
    folder = RESULTS / "longer"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert main(["compare", str(folder), "--against", "live"]) == 0
    uniform = next(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("| `uniform`")
    )
    assert "(-0.013 ± 0.016)" in uniform, "the other side of live's difference from uniform"
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert main(["compare", str(folder), "--against", "liev"]) == 2
    assert "--against liev: not in the plan" in capsys.readouterr().err


def test_a_published_folder_is_not_gone_on_with(capsys):
    assert main(["compare", str(RESULTS / "longer")]) == 2
    assert "longer/plan.yaml" in capsys.readouterr().err


def test_the_results_stay_small():
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    assert len(PUBLISHED) >= 15
    assert len(files) <= 150
    assert sum(path.stat().st_size for path in files) <= 3_000_000


def test_the_tables_of_the_pages_are_up_to_date():
    pages = [page.read_text(encoding="utf-8") for page in results_tables.PAGES]
    assert [results_tables.filled(page) for page in pages] == pages, "make results"
    assert all(f"<!-- table: {name} -->" in "".join(pages) for name in results_tables.TABLES)


def test_every_comparison_is_quoted():
    page = "".join(page.read_text(encoding="utf-8") for page in results_tables.PAGES)
    pools = {folder for row in results_tables.GLANCE for folder in row.folders}
    for folder in filter(is_archive, results_tables.RESULTS.iterdir()):
        assert folder.name in pools or f"results/{folder.name}" in page, folder.name


def test_a_mark_without_a_table_is_named():
    with pytest.raises(RecordError, match="no table 'nothing'; there are glance_uniform"):
        results_tables.filled("<!-- table: nothing -->\n<!-- end -->")


def test_the_clean_seeds_are_twenty_and_pool_like_one_comparison():
    pooled = results_tables.pooled(results_tables.CLEAN, ("uniform", "paced"))
    assert sorted(pooled.runs["paced"]) == sorted(pooled.runs["uniform"]) == list(range(80, 100))
    assert not pooled.fresh_data
    assert not pooled.missing


def test_runs_of_other_settings_are_not_pooled(monkeypatch):
    kept = results_tables.published_settings

    def other(folder):
        settings = kept(folder)
        if folder.name == "two_rollouts":
            settings["paced"][90] |= {"optimisation.learning_rate": 1.0}  # in the words of its day
        return settings

    results_tables.pooled.cache_clear()
    monkeypatch.setattr(results_tables, "published_settings", other)
    with pytest.raises(
        RecordError, match=r"two_rollouts, paced seed 90: other settings.*learning_rate"
    ):
        results_tables.pooled(results_tables.CLEAN, ("uniform", "paced"))
    results_tables.pooled.cache_clear()


def test_check_names_what_is_not_up_to_date(monkeypatch, capsys, tmp_path):
    stale = results_tables.RESULTS / "longer" / "table.md"
    fresh = {stale: "other", results_tables.PAGE: results_tables.PAGE.read_text(encoding="utf-8")}
    monkeypatch.setattr(results_tables, "all_files", lambda: fresh)
    before = stale.read_bytes()
    assert results_tables.main(["--check"]) == 1
    assert "not up to date: results/longer/table.md" in capsys.readouterr().out
    assert stale.read_bytes() == before
    moved = tmp_path / "table.md"
    monkeypatch.setattr(results_tables, "ROOT", tmp_path)
    monkeypatch.setattr(results_tables, "all_files", lambda: {moved: "new"})
    assert results_tables.main([]) == 0
    assert moved.read_text() == "new"


def test_nothing_has_no_sign():
    assert results_tables.percent(-0.001) == "0 %"
    assert results_tables.percent(0.274) == "+27 %"
