"""The examples run as they stand: those of the README and of examples/, and those in the
docstrings of the verifiers."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import json
import pkgutil
from pathlib import Path

import pytest

import gdro.verify
from forked import run_script
from gdro.cli import main

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


def test_the_trl_script_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_script(EXAMPLES / "trl_script.py", "2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "checkpoint-2").is_dir()


def test_the_chat_example_s_model_data_and_reward_go_together(monkeypatch, capsys):
    """With its system prompt through the model's template; the reward is tried on each kind of
    row."""
    monkeypatch.chdir(EXAMPLES.parent)
    assert main(["train", "examples/chat.yaml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "45 training prompts, 15 held out" in said
    prompt = [{"role": "user", "content": "How many?"}]
    reward = load_reward("short_and_right")
    answers = ["It is 7.", "7", "8", "Seven and no more than that, so the answer must be 7"]
    given = [[{"role": "assistant", "content": text}] for text in answers]
    assert reward(completions=given, prompts=[prompt] * 4, answer=["7"] * 4) == [1, 1, 0, 0.5]


def load_reward(name):
    spec = importlib.util.spec_from_file_location("example_reward", EXAMPLES / "reward.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


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


def test_it_trains_on_what_it_stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_script(
        EXAMPLES / "offline_preference.py", "--prompts", "24", "--steps", "3", "--lr", "1e-4"
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    assert len(rows) == 24 * 8
    assert set(rows[0]) == {"id", "prompt", "completion", "reward"}
    steps = [line.split() for line in done.stdout.splitlines() if line.startswith("step")]
    agreement = [float(words[-1]) for words in steps]
    assert agreement[0] == 0.5  # at the reference every score is 0
    assert agreement[-1] > 0.6
    assert float(steps[-1][3]) < float(steps[0][3])


MODULES = [
    name
    for _, name, package in pkgutil.walk_packages(gdro.verify.__path__, "gdro.verify.")
    if not package and not name.endswith("nursery")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
