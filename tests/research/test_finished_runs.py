"""What is measured on finished runs: the gradient's variance under a run's own plan, visits by
source."""

from __future__ import annotations

import json
import shutil

import pytest

import gradient_of_runs
import visits
from forked import gdro
from gdro.core.errors import RunError
from gdro.lab.compare_jobs import GDRO, JobFolder
from gdro.lab.compare_plan import jobs_of, read_plan
from gdro.runs.folder import RunFolder

PLAN = """
name: one
seeds: [3]
overrides:
  {max_steps: 3, prompts_per_step: 12, data: {size: 24, heldout_size: 24},
   evaluation.num_generations: 2}
methods:
  joint: {controller: joint}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of one finished run of a comparison."""
    root = tmp_path_factory.mktemp("finished")
    (root / "plan.yaml").write_text(PLAN)
    (job,) = jobs_of(read_plan(root / "plan.yaml"), root)
    done = gdro(*JobFolder(root, job).command()[len(GDRO) :])
    assert done.returncode == 0, done.stderr
    return root / "joint" / "seed-3"


def test_a_finished_run_is_measured_once_and_the_same_to_the_last_digit(
    trained, capsys, monkeypatch
):
    monkeypatch.setattr(gradient_of_runs, "REPEATS", 4)
    assert gradient_of_runs.main([str(trained)]) == 0
    assert "gradient variance x " in capsys.readouterr().out
    file = gradient_of_runs.gradients_file(RunFolder(trained))
    kept = file.read_bytes()
    assert 0.05 < json.loads(kept)["variance_ratio"]["value"] < 20.0
    assert gradient_of_runs.main([str(trained)]) == 0
    assert capsys.readouterr().out == ""
    file.unlink()
    gradient_of_runs.measure_run(RunFolder(trained))
    assert file.read_bytes() == kept


def test_visits_by_source_add_up_to_the_runs_own(trained, capsys):
    found = visits.rows(RunFolder(trained))
    assert len(found) > 1
    assert sum(prompts * each for _, prompts, each, *_ in found) == pytest.approx(3 * 12)
    assert sum(share for _, _, _, share, *_ in found) == pytest.approx(1.0)
    assert all(0.0 < estimate < 1.0 for *_, estimate, _ in found)
    assert visits.main([str(trained)]) == 0
    assert f"| {found[0][0]} | {found[0][1]} |" in capsys.readouterr().out
    assert visits.main([str(trained / "nowhere")]) == 2
    assert "nowhere/config.yaml" in capsys.readouterr().err


def test_a_run_without_a_checkpoint_is_refused(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(RunError, match="no whole checkpoint, so the run's controller is lost"):
        gradient_of_runs.measure_run(RunFolder(tmp_path / "run"))
