"""The main job end to end, through the command line, on the embedded model: what a user types and
what they find. The first run is started as from a shell, the others without its seconds of
imports."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from safetensors import safe_open

from forked import NO_GPU, QUICK, gdro, started

SMALL = [
    *QUICK,
    *("max_steps=4", "prompts_per_step=16", "data.size=64", "data.heldout_size=24", "save_steps=1"),
    "lr_scheduler_type=constant",
    "verifier.timeout=30",  # on a busy machine one second is not enough for the same bytes
]


def _words(output, *settings):
    """Of `gdro train` with these settings."""
    sets = (*SMALL, f"output_dir={output}", *settings)
    return ["train", *(part for setting in sets for part in ("--set", setting))]


def _until(process, run, mark):
    """Wait until the run has written this into its record."""
    record = run / "metrics.jsonl"
    while process.is_alive() and not (record.exists() and mark in record.read_text()):
        time.sleep(0.02)


def _events(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _comparable(run):
    """The record without times."""
    events = [event for event in _events(run) if event["event"] != "resume"]
    for event in events:
        for key in ("seconds", "time", "peak_memory_mb", "config", "commit"):
            event.pop(key, None)
    return events


def _assert_same_end(run, whole):
    """Record and weights are those of a run that was never interrupted."""
    assert _comparable(run) == _comparable(whole)
    weights = "model/model.safetensors"
    assert (run / weights).read_bytes() == (whole / weights).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    shell = [sys.executable, "-c", "from gdro.cli import main; raise SystemExit(main())"]
    done = subprocess.run(
        [*shell, *_words(run)],
        env=os.environ | NO_GPU,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"run: {run}" in done.stderr
    return run


def test_a_run_leaves_everything_in_one_folder(whole):
    assert {path.name for path in whole.iterdir()} == {
        "config.yaml",
        "metrics.jsonl",
        "evaluations",
        "checkpoints",
        "model",
        "report.html",
    }
    kinds = [event["event"] for event in _events(whole)]
    assert kinds[:2] == ["start", "evaluation"]
    assert kinds[-2:] == ["evaluation", "end"]
    assert kinds.count("step") == 4
    assert not list((whole / "model").glob("*.bin"))
    assert not list((whole / "checkpoints").glob("*.md"))


def test_the_record_of_every_step_is_exact(whole):
    steps = [event for event in _events(whole) if event["event"] == "step"]
    assert [event["rollouts_total"] for event in steps] == [64, 128, 192, 256]
    for event in steps:
        assert event["controller"]["batch_rollouts"] == 64
        assert sum(event["verifier"].values()) == 64
        assert event["loss"] is not None


def test_the_trained_model_is_an_ordinary_folder_and_has_moved(whole):
    from gdro.tiny import base_path

    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in (whole / "model").iterdir()
    }
    with (
        safe_open(base_path() / "model.safetensors", "pt") as old,
        safe_open(whole / "model" / "model.safetensors", "pt") as new,
    ):
        names = [name for name in new.keys() if name in old.keys()]  # noqa: SIM118 (not a dict)
        assert names
        assert any((old.get_tensor(name) != new.get_tensor(name)).any() for name in names)


def test_a_killed_run_resumes_to_the_same_bytes(whole, tmp_path):
    run = tmp_path / "killed"
    with started(*_words(run)) as process:
        _until(process, run, '"step", "step": 3')
        process.send_signal(signal.SIGKILL)
        assert process.wait().returncode == -signal.SIGKILL
    done = gdro("train", "--resume", str(run))
    assert done.returncode == 0, done.stderr
    for name in (
        "model/model.safetensors",
        "checkpoints/checkpoint-4/optimizer.pt",
        "checkpoints/checkpoint-4/gdro_state.npz",
    ):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert _comparable(run) == _comparable(whole)


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(tmp_path):
    run = tmp_path / "stopped"
    with started(*_words(run, "max_steps=500")) as process:
        _until(process, run, '"event": "step"')
        process.send_signal(signal.SIGINT)
        done = process.wait()
    assert done.returncode == 0, done.stderr
    assert f"gdro train --resume {run}" in done.stderr
    last = max(event["step"] for event in _events(run) if event["event"] == "step")
    assert (run / "checkpoints" / f"checkpoint-{last}" / "seal.json").is_file()
    assert not (run / "model").exists()


def test_report_is_rebuilt_from_the_record_and_the_completions(whole, tmp_path):
    shutil.copy(whole / "metrics.jsonl", tmp_path)
    shutil.copytree(whole / "evaluations", tmp_path / "evaluations")
    done = gdro("report", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").read_bytes() == (whole / "report.html").read_bytes()


def test_evaluate_gives_the_figures_of_the_run(whole, tmp_path):
    figures = tmp_path / "figures.json"
    done = gdro("evaluate", str(whole), "--output", str(figures))
    assert done.returncode == 0, done.stderr
    last = [event for event in _events(whole) if event["event"] == "evaluation"][-1]
    assert json.loads(figures.read_text())["mean_at_k"] == last["mean_at_k"]


def test_a_finished_run_is_not_resumed(whole):
    done = gdro("train", "--resume", str(whole))
    assert done.returncode == 2
    assert "is finished" in done.stderr


def test_a_finished_run_is_extended_as_if_it_had_been_longer_from_the_start(whole, tmp_path):
    run = tmp_path / "extended"
    assert gdro(*_words(run, "max_steps=2")).returncode == 0
    for words in (["--set", "max_steps=1"], []):
        assert gdro("train", "--resume", str(run), *words).returncode == 2
    done = gdro("train", "--resume", str(run), "--set", "max_steps=4")
    assert done.returncode == 0, done.stderr
    _assert_same_end(run, whole)
    assert "max_steps: 4\n" in (run / "config.yaml").read_text()
    assert "is finished" in gdro("train", "--resume", str(run)).stderr


def test_a_run_that_died_in_its_last_phase_is_finished_though_an_earlier_end_left_a_report(
    whole, tmp_path
):
    """As an extended run: report and model are there, and `end` is not the record's last event."""
    run = tmp_path / "died"
    shutil.copytree(whole, run)
    record = run / "metrics.jsonl"
    *lines, end = record.read_text().splitlines(keepends=True)
    assert '"event": "end"' in end
    record.write_text("".join(lines[:-1]))  # the last evaluation is missing too
    (run / "report.html").write_text("of the earlier end")
    (run / "model" / "model.safetensors").write_bytes(b"half")
    done = gdro("train", "--resume", str(run))
    assert done.returncode == 0, done.stderr
    _assert_same_end(run, whole)
    assert "of the earlier end" not in (run / "report.html").read_text()
    assert "is finished" in gdro("train", "--resume", str(run)).stderr


def test_a_finished_run_without_checkpoints_is_not_told_to_go_on_from_them(whole, tmp_path):
    run = tmp_path / "cleared"
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns("checkpoints"))
    for words in ([], ["--set", "max_steps=9"]):
        done = gdro("train", "--resume", str(run), *words)
        assert done.returncode == 2
        assert f"model={run / 'model'}" in done.stderr
        assert "--resume" not in done.stderr


def test_a_run_whose_data_have_changed_is_not_resumed(whole, tmp_path):
    run = tmp_path / "changed"
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns("model", "report.html"))
    before = (run / "metrics.jsonl").read_bytes()
    config = run / "config.yaml"
    text = config.read_text()
    assert text.count("  size: 64\n") == 1
    config.write_text(text.replace("  size: 64\n", "  size: 65\n"))
    edited = config.read_bytes()
    done = gdro("train", "--resume", str(run), "--set", "max_steps=6")
    assert done.returncode == 2
    assert config.read_bytes() == edited
    assert (
        "the training prompts are not those that the run began with (64 then, 65 now" in done.stderr
    )
    assert (run / "metrics.jsonl").read_bytes() == before


def test_rounds_within_the_budget_end_when_its_rollouts_are_spent_and_resume_to_the_same_bytes(
    tmp_path,
):
    rounds = [
        "controller=uniform",
        "generation.rounds=dynamic_sampling",
        "generation.rounds_within_budget=true",
    ]
    whole, short = tmp_path / "whole", tmp_path / "short"
    done = gdro(*_words(whole, *rounds, "max_steps=12", "eval_steps=4"))
    assert done.returncode == 0, done.stderr
    assert "100 % of the rollouts" in done.stderr
    events = _events(whole)
    spent = {event["step"]: event["rollouts_total"] for event in events if event["event"] == "step"}
    last = max(spent)
    assert spent[last - 1] < 12 * 64 <= spent[last]
    assert last < 12
    moments = [event["step"] for event in events if event["event"] == "evaluation"]
    marks = [next(step for step in spent if spent[step] >= share * 256) for share in (1, 2, 3)]
    assert moments == [0, *marks]
    assert moments[-1] == events[-1]["step"] == last
    shutil.copytree(whole, short)
    (short / "report.html").unlink()  # stopped after its last step, before its end
    again = gdro("train", "--resume", str(short))
    assert again.returncode == 0, again.stderr
    _assert_same_end(short, whole)
