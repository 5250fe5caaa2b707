"""Side by side, failures, stops and going on, with a stand-in for `gdro train` that only writes
files."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from gdro.config import load_config
from gdro.core.errors import RunError
from gdro.lab import compare, compare_jobs

PLAN = """
name: small
seeds: [0, 1]
methods:
  good: {controller: uniform}
  bad: {controller: joint}
"""
STAND_IN = """
import os, pathlib, sys, time
words = sys.argv[1:]
assert words[0] == "train", words
resumed = words[1] == "--resume"
run = pathlib.Path(words[2] if resumed else words[-1].removeprefix("output_dir="))
here = pathlib.Path(os.environ["STAND_IN"])
began = 'resume' if resumed else 'start'
(here / f"{run.parent.name}-{run.name}-{began}-{os.environ['OMP_NUM_THREADS']}").touch()
run.mkdir(exist_ok=True)
if not resumed:
    (run / "config.yaml").write_text(pathlib.Path(words[1]).read_text())
going = here / f"going-{os.getpid()}"
going.touch()
time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0.3")))
most = len(list(here.glob("going-*")))
(here / f"most-{most}").touch()
going.unlink()
if run.parent.name == "bad" and run.name == "seed-0" and not (here / "mended").exists():
    sys.exit("gdro: no room")
(run / "model").mkdir()
(run / "report.html").touch()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A plan, and a stand-in that notes what it was asked for."""
    (tmp_path / "small.yaml").write_text(PLAN)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    (tmp_path / "notes").mkdir()
    monkeypatch.setenv("STAND_IN", str(tmp_path / "notes"))
    monkeypatch.setattr(compare_jobs, "GDRO", (sys.executable, str(tmp_path / "stand_in.py")))
    monkeypatch.setattr(compare, "comparison_in", lambda root, plan, jobs: None)
    monkeypatch.setattr(compare, "_report", lambda root, comparison: 0)
    return tmp_path


def _notes(place, pattern="*"):
    return sorted(path.name for path in (place / "notes").glob(pattern))


def _compare(place, *words):
    return compare.main([*words, "--jobs", "2"])


def test_runs_go_side_by_side_and_a_failed_one_is_named_and_retried_on_request(place, capsys):
    root = place / "out"
    assert _compare(place, str(place / "small.yaml"), "--output", str(root)) == 1
    assert _notes(place, "*-start-1") == [
        f"{method}-seed-{seed}-start-1" for method in ("bad", "good") for seed in (0, 1)
    ]
    assert _notes(place, "most-*") <= ["most-1", "most-2"]
    assert "bad seed 0: failed (gdro: no room), see" in capsys.readouterr().out

    assert _compare(place, str(root)) == 1
    assert _notes(place, "*-resume-*") == []
    assert "failed (exit status 1: gdro: no room); see" in capsys.readouterr().out

    (place / "notes" / "mended").touch()
    assert _compare(place, str(root), "--retry") == 0
    assert _notes(place, "*-resume-*") == ["bad-seed-0-resume-1"]
    assert "4 runs, 1 to do" in capsys.readouterr().out
    assert _compare(place, str(root)) == 0
    assert len(_notes(place, "*-start-1")) == 4


def test_an_interrupt_stops_the_runs_and_the_same_folder_goes_on(place, monkeypatch, capsys):
    root = place / "out"
    monkeypatch.setenv("STAND_IN_SECONDS", "30")
    stopper = threading.Thread(target=_interrupt_once_two_go, args=(place,))
    stopper.start()
    assert _compare(place, str(place / "small.yaml"), "--output", str(root)) == 1
    stopper.join()
    said = capsys.readouterr().out
    assert "good seed 0: killed by SIGTERM; `gdro compare FOLDER` goes on with it" in said
    assert f"stopped; go on with: gdro compare {root}" in said
    assert len(_notes(place, "*-start-1")) == 2
    monkeypatch.setenv("STAND_IN_SECONDS", "0")
    (place / "notes" / "mended").touch()
    assert _compare(place, str(root)) == 0
    assert _notes(place, "*-resume-1") == ["bad-seed-0-resume-1", "good-seed-0-resume-1"]


def _interrupt_once_two_go(place):
    while len(_notes(place, "going-*")) < 2:
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_method_can_be_added_later(place):
    root = place / "out"
    (place / "notes" / "mended").touch()
    assert _compare(place, str(place / "small.yaml"), "--output", str(root), "--seeds", "0") == 0
    plan = root / "plan.yaml"
    plan.write_text(plan.read_text() + "  late: {controller: sqrt_law}\n")
    assert _compare(place, str(root)) == 0
    assert len(_notes(place, "*-start-1")) == 3
    assert load_config(root / "late" / "seed-0" / "config.yaml").controller.name == "sqrt_law"


def test_what_would_mix_comparisons_is_refused(place):
    root = place / "out"
    (place / "notes" / "mended").touch()
    assert _compare(place, str(place / "small.yaml"), "--output", str(root), "--seeds", "0") == 0
    with pytest.raises(RunError, match="is not empty; go on with it"):
        _compare(place, str(place / "small.yaml"), "--output", str(root))
    with pytest.raises(RunError, match="goes on with its own plan"):
        _compare(place, str(root), "--set", "max_steps=4")
    plan = root / "plan.yaml"
    plan.write_text(plan.read_text() + "overrides: {max_steps: 4}\n")
    with pytest.raises(RunError, match="steps 600, planned 4"):
        _compare(place, str(root))


def test_a_run_that_another_process_writes_is_left_alone(place, capsys):
    from gdro.runs.folder import RunFolder, held

    root = place / "out"
    assert _compare(place, str(place / "small.yaml"), "--output", str(root), "--seeds", "0") == 1
    run = root / "bad" / "seed-0"
    (root / "bad" / "seed-0.failed").unlink()
    with held(RunFolder(run)):
        assert _compare(place, str(root)) == 1
    assert "bad seed 0: another process is at it" in capsys.readouterr().out
    assert _notes(place, "*-resume-*") == []
