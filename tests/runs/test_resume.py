"""The short forms of `make reliability`: runs of the embedded model that are killed, damaged,
poisoned, out of disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forked import run_script

FOLDER = Path(__file__).parents[2] / "benchmarks" / "reliability"


def _measured(tmp_path, script, *arguments):
    """The rows that a script writes."""
    rows = tmp_path / "rows.json"
    done = run_script(FOLDER / script, *arguments, "--output", str(rows))
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(rows.read_text())


def test_a_killed_run_ends_as_one_that_was_not(tmp_path):
    rows = _measured(tmp_path, "kill.py", "--short")
    for row in rows:
        assert row["wrong"] == 0, row
        assert row["most_steps_repeated"] <= 1
    assert sum(row["kills"] for row in rows) >= 6
    assert sum(row["checkpoints_compared"] for row in rows) >= 4
    assert sum(row["unfinished_checkpoints"] for row in rows) >= 1


def test_a_resume_runs_no_code_that_a_checkpoint_brings(tmp_path):
    rows = _measured(tmp_path, "poison.py", "--short")
    assert not any(row["code_ran"] for row in rows)
    assert all(row["as_it_should"] for row in rows), rows


def test_a_full_disk_stops_with_one_error_and_loses_nothing(tmp_path):
    """From a shell: the script starts itself anew in a name space of its own."""
    file = tmp_path / "rows.json"
    words = ["--sizes", "1", "--no-bisect", "--output", file]
    done = subprocess.run(
        [sys.executable, FOLDER / "disk_full.py", *words],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if "skipped" in done.stdout:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(file.read_text())
    assert [row["exit"] for row in rows] == [2]
    assert all(row["final_as_reference"] and row["checkpoints_as_reference"] for row in rows)
