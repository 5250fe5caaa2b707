"""What the pages show: their tables say what results/ says (each comparison's own files:
tests/lab/test_published.py)."""

from __future__ import annotations

import pytest

import results_tables
from gdro.lab.compare_archive import is_archive
from gdro.report import RecordError


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
