"""The examples of the README run as they stand."""

from pathlib import Path

from forked import run_script

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_own_loop_runs_and_favours_the_hard_bins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_script(EXAMPLES / "own_loop.py")
    assert done.returncode == 0, done.stderr
    assert "rollouts by bin" in done.stdout
    assert (tmp_path / "controller.npz").is_file()


def test_robust_loop_raises_the_worst_group():
    done = run_script(EXAMPLES / "robust_loop.py")
    assert done.returncode == 0, done.stderr
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
