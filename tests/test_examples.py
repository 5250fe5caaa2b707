"""The examples of the README run as they stand."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_own_loop_runs_and_favours_the_hard_bins(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "own_loop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "rollouts by bin" in done.stdout
    assert (tmp_path / "controller.npz").is_file()


def test_robust_loop_raises_the_worst_group(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "robust_loop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    plain, robust = (float(line.split()[-1]) for line in done.stdout.splitlines())
    assert robust > plain + 0.2


def test_the_readme_shows_the_example_s_calls():
    readme = "".join(
        (EXAMPLES.parent / page).read_text() for page in ("README.md", "docs/quickstart.md")
    )
    calls = (
        "controller.plan(",
        "controller.observe(",
        "gdro.group_advantages(",
        "GDROTrainer(",
        "trainer_mode=gdro",
    )
    for call in calls:
        assert call in readme
