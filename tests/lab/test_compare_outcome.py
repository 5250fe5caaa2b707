"""Outcomes left beside run folders: the same table without the runs, and every damage named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from fake_comparison import make

from gdro.core.errors import RunError
from gdro.lab import compare
from gdro.lab.compare_jobs import JobFolder
from gdro.lab.compare_plan import jobs_of, plan_text
from gdro.lab.compare_record import read_comparison
from gdro.lab.compare_scores import summarize
from gdro.lab.compare_table import markdown
from gdro.report.read import RecordError


@pytest.fixture
def kept(tmp_path):
    """(folder without runs, plan, table made from the runs)."""
    plan = make(tmp_path, {"plain": 0.05, "better": 0.25})
    table = markdown(summarize(read_comparison(tmp_path, plan)))
    for job in jobs_of(plan, tmp_path):
        place = JobFolder(tmp_path, job)
        place.beside("yaml").write_text(job.config.to_yaml())
        shutil.rmtree(place.run.path)
    (tmp_path / "plan.yaml").write_text(plan_text(plan))
    return tmp_path, plan, table


def test_the_same_table_without_the_runs(kept, capsys):
    root, plan, table = kept
    assert markdown(summarize(read_comparison(root, plan))) == table
    assert {place.state() for place in (JobFolder(root, job) for job in jobs_of(plan, root))} == {
        "done"
    }
    assert compare.main([str(root)]) == 0  # nothing is trained again
    said = capsys.readouterr().out
    assert "6 runs, 0 to do" in said
    assert table in said
    size = sum(path.stat().st_size for path in root.rglob("*.outcome.json"))
    assert size < 6 * 2_000


def test_an_outcome_of_other_settings_is_refused(kept):
    root, plan, _ = kept
    place = JobFolder(root, jobs_of(plan, root)[0])
    place.beside("yaml").write_text(place.job.config.to_yaml().replace("steps: 600", "steps: 599"))
    for words in ([str(root)], [str(root), "--report"]):
        with pytest.raises(
            RunError, match=r"seed-0 was trained with other settings than the plan's: max_steps"
        ):
            compare.main(words)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda values: values.pop("tokens"), "damaged"),
        (lambda values: values.update(format=99), "another format"),
        (lambda values: values.update(ids=values["ids"][:12] + "0" * 52), "other prompts"),
        (lambda values: values.update(ids="0" * 64), "damaged"),
        (lambda values: values["correct"].pop(), "another format"),
        (lambda values: values.update(steps="many"), "damaged"),
    ],
)
def test_a_damaged_outcome_is_named(kept, damage, said):
    root, plan, _ = kept
    path = root / "better" / "seed-1.outcome.json"
    values = json.loads(path.read_text())
    damage(values)
    path.write_text(json.dumps(values))
    with pytest.raises(RecordError, match=rf"(?s)seed-1.outcome.json.*{said}.*train"):
        read_comparison(root, plan)


def test_a_number_that_was_not_measured_stays_so(tmp_path):
    plan = make(tmp_path, {"plain": 0.05}, seeds=(0,))
    record = tmp_path / "plain" / "seed-0" / "metrics.jsonl"
    record.write_text(record.read_text().replace('"zero_variance_share": 0.25', '"other": 0.25'))
    assert np.isnan(read_comparison(tmp_path, plan).runs["plain"][0].dead)
    shutil.rmtree(tmp_path / "plain" / "seed-0")
    outcome = read_comparison(tmp_path, plan).runs["plain"][0]
    assert np.isnan(outcome.dead)
    assert np.isnan(outcome.training_reward)
