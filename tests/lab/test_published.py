"""The published comparisons: table and figure follow from each folder alone, and its plan can be
run again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gdro.cli import main
from gdro.lab.compare_archive import OUTCOMES, is_archive, load_archive, published_settings
from gdro.lab.compare_page import published_files
from gdro.lab.compare_plan import PLAN, jobs_of, narrowed, read_plan
from gdro.lab.compare_summary import summarize

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
