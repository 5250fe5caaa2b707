"""The gradient column of a comparison: measured on one real run, shown beside made-up ones."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from fake_comparison import make

from gdro.cli import main
from gdro.lab import gradient_runs
from gdro.lab.compare_page import page
from gdro.lab.compare_record import read_comparison
from gdro.lab.compare_table import markdown, summarize
from gdro.lab.gradient_record import gradients_file, read_variance_ratio
from gdro.lab.gradient_runs import measure_run, measure_runs
from gdro.report.read import RecordError
from gdro.runs.errors import RunError
from gdro.runs.folder import RunFolder

PLAN = """
name: one
seeds: [3]
overrides: {steps: 3, prompts_per_step: 12, data: {size: 24, heldout_size: 24}, evaluation.samples: 2}
methods:
  joint: {controller: joint}
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(folder of a comparison of one run, what --gradients said)."""
    folder = tmp_path_factory.mktemp("gradients")
    (folder / "one.yaml").write_text(PLAN)
    root = folder / "out"
    assert main(["compare", str(folder / "one.yaml"), "--output", str(root)]) == 0
    return root


def test_a_finished_run_is_measured_once_and_shown(compared, capsys, monkeypatch):
    monkeypatch.setattr(gradient_runs, "REPEATS", 4)
    run = RunFolder(compared / "joint" / "seed-3")
    assert np.isnan(read_variance_ratio(run))
    assert main(["compare", str(compared), "--gradients"]) == 0
    said = capsys.readouterr().out
    assert "gradient variance x " in said
    ratio = read_variance_ratio(run)
    assert 0.05 < ratio < 20.0
    assert f"| x {ratio:.2f} |" in (compared / "table.md").read_text()
    kept = gradients_file(run).read_bytes()
    measure_runs([run], lambda text: pytest.fail(f"measured again: {text}"))
    gradients_file(run).unlink()
    measure_run(run)
    assert gradients_file(run).read_bytes() == kept  # the same to the last digit


def test_visits_by_source_add_up_to_the_runs_own(compared, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    run = RunFolder(compared / "joint" / "seed-3")
    found = import_module("visits").rows(run)
    assert len(found) > 1
    assert sum(prompts * each for _, prompts, each, *_ in found) == pytest.approx(3 * 12)
    assert sum(share for _, _, _, share, *_ in found) == pytest.approx(1.0)
    assert all(0.0 < estimate < 1.0 for *_, estimate, _ in found)
    assert import_module("visits").main([str(run.path)]) == 0
    assert f"| {found[0][0]} | {found[0][1]} |" in capsys.readouterr().out
    assert import_module("visits").main([str(compared / "nowhere")]) == 2
    assert "nowhere/config.yaml" in capsys.readouterr().err


def test_a_run_without_a_checkpoint_is_refused(compared, tmp_path):
    shutil.copytree(compared / "joint" / "seed-3", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(RunError, match="no whole checkpoint, so the run's controller is lost"):
        measure_run(RunFolder(tmp_path / "run"))


def test_gradients_need_the_folder_of_a_comparison(capsys):
    assert main(["compare", "first", "--gradients"]) == 2
    assert "name its folder" in capsys.readouterr().err


def test_table_and_page_show_the_mean_over_seeds(tmp_path):
    plan = make(tmp_path, {"plain": 0.0, "other": 0.1})
    for seed, value in enumerate((0.7, 0.8, 0.9)):
        file = gradients_file(RunFolder(tmp_path / "other" / f"seed-{seed}"))
        file.write_text(json.dumps({"variance_ratio": {"value": value, "low": 0.0, "high": 1.0}}))
    summary = summarize(read_comparison(tmp_path, plan))
    entry = summary["methods"]["other"]["gradient_variance"]
    assert entry["value"] == pytest.approx(0.8)
    assert entry["high"] - entry["value"] == pytest.approx(4.303 * 0.1 / np.sqrt(3), rel=1e-3)
    costs = [line for line in markdown(summary).splitlines() if line.startswith("| `")][2:]
    assert "| – | 25,600" in costs[0]
    assert "| x 0.80 ± 0.25 |" in costs[1]
    assert "Gradient variance" in page(summary)


def test_a_damaged_file_is_named(tmp_path):
    run = RunFolder(tmp_path / "seed-0")
    gradients_file(run).write_text('{"variance_ratio": {}}')
    with pytest.raises(RecordError, match=r"seed-0.gradients.json: damaged .* remove it and measure again"):
        read_variance_ratio(run)
