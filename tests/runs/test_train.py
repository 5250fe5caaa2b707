"""The main job end to end, through the command line, on the embedded model: what a user types and
what they find."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from safetensors import safe_open

SMALL = [
    *("max_steps=4", "prompts_per_step=16", "data.size=64", "data.heldout_size=24", "save_steps=1"),
    "lr_scheduler_type=constant",
    "verifier.timeout=30",  # on a busy machine one second is not enough for the same bytes
]
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def _command(*arguments):
    return [sys.executable, "-c", "from gdro.cli import main; raise SystemExit(main())", *arguments]


def _gdro(*arguments, **options):
    return subprocess.run(
        _command(*arguments),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        **options,
    )


def _train(output, *settings):
    sets = [
        part
        for setting in (*SMALL, f"output_dir={output}", *settings)
        for part in ("--set", setting)
    ]
    return _gdro("train", *sets)


def _events(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _comparable(run):
    """The record without times."""
    events = [event for event in _events(run) if event["event"] != "resume"]
    for event in events:
        for key in ("seconds", "time", "peak_memory_mb", "config"):
            event.pop(key, None)
    return events


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = _train(run)
    assert done.returncode == 0, done.stderr
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
    sets = [part for setting in (*SMALL, f"output_dir={run}") for part in ("--set", setting)]
    process = subprocess.Popen(_command("train", *sets), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    record = run / "metrics.jsonl"
    while process.poll() is None and not (
        record.exists() and '"step", "step": 3' in record.read_text()
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = _gdro("train", "--resume", str(run))
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
    sets = [
        part
        for setting in (*SMALL, f"output_dir={run}", "max_steps=500")
        for part in ("--set", setting)
    ]
    process = subprocess.Popen(
        _command("train", *sets), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    record = run / "metrics.jsonl"
    while process.poll() is None and not (
        record.exists() and '"event": "step"' in record.read_text()
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert f"gdro train --resume {run}" in said
    last = max(event["step"] for event in _events(run) if event["event"] == "step")
    assert (run / "checkpoints" / f"checkpoint-{last}" / "seal.json").is_file()
    assert not (run / "model").exists()


def test_report_is_rebuilt_from_the_record_alone(whole, tmp_path):
    shutil.copy(whole / "metrics.jsonl", tmp_path)
    done = _gdro("report", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").read_bytes() == (whole / "report.html").read_bytes()


def test_evaluate_gives_the_figures_of_the_run(whole, tmp_path):
    figures = tmp_path / "figures.json"
    done = _gdro("evaluate", str(whole), "--output", str(figures))
    assert done.returncode == 0, done.stderr
    last = [event for event in _events(whole) if event["event"] == "evaluation"][-1]
    assert json.loads(figures.read_text())["mean_at_k"] == last["mean_at_k"]


def test_a_finished_run_is_not_resumed(whole):
    done = _gdro("train", "--resume", str(whole))
    assert done.returncode == 2
    assert "is finished" in done.stderr


def test_a_finished_run_is_extended_as_if_it_had_been_longer_from_the_start(whole, tmp_path):
    run = tmp_path / "extended"
    assert _train(run, "max_steps=2").returncode == 0
    for words in (["--set", "max_steps=1"], []):
        assert _gdro("train", "--resume", str(run), *words).returncode == 2
    done = _gdro("train", "--resume", str(run), "--set", "max_steps=4")
    assert done.returncode == 0, done.stderr
    assert (run / "model/model.safetensors").read_bytes() == (
        whole / "model/model.safetensors"
    ).read_bytes()
    assert _comparable(run) == _comparable(whole)
    assert "max_steps: 4\n" in (run / "config.yaml").read_text()
    assert "is finished" in _gdro("train", "--resume", str(run)).stderr


def test_a_run_whose_data_have_changed_is_not_resumed(whole, tmp_path):
    run = tmp_path / "changed"
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns("model", "report.html"))
    before = (run / "metrics.jsonl").read_bytes()
    config = run / "config.yaml"
    text = config.read_text()
    assert text.count("  size: 64\n") == 1
    config.write_text(text.replace("  size: 64\n", "  size: 65\n"))
    done = _gdro("train", "--resume", str(run))
    assert done.returncode == 2
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
    done = _train(whole, *rounds, "max_steps=12", "eval_steps=4")
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
    again = _gdro("train", "--resume", str(short))
    assert again.returncode == 0, again.stderr
    assert _comparable(short) == _comparable(whole)
    assert (short / "model/model.safetensors").read_bytes() == (
        whole / "model/model.safetensors"
    ).read_bytes()
