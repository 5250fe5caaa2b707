"""The run's folder and its record: nothing overwritten, nothing half read, cut back to a checkpoint
byte for byte."""

import json
import math
import subprocess
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.config import load_config
from gdro.core.errors import RunError
from gdro.io import RecordWriter, without_nan
from gdro.runs.folder import RunFolder, held, new_folder, old_folder
from gdro.runs.machine import code_commit, machine, this_machine
from gdro.runs.model_card import write_card
from gdro.runs.record import cut_back


@pytest.mark.parametrize(
    ("written", "installed"),
    [
        (None, None),
        ('{"dir_info": {}, "url": "file:///somewhere"}', None),
        ('{"vcs_info": {"vcs": "git", "commit_id": "0123456789"}}', "0123456"),
    ],
)
def test_the_commit_of_the_code_is_that_of_its_checkout_or_what_pip_wrote_down(
    tmp_path, monkeypatch, written, installed
):
    there = SimpleNamespace(read_text=lambda name: written)
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: there)

    def git(*words):
        settings = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *settings, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "src" / "gdro"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    git("init")
    git("commit", "--allow-empty", "-m", "somebody's own repository")
    assert code_commit(package) == installed, "lies in that repository, is not of it"
    git("add", ".")
    git("commit", "-m", "the package")
    commit = git("rev-parse", "--short=7", "HEAD")
    (tmp_path / "notes.txt").touch()
    assert code_commit(package) == commit
    (package / "new.py").touch()
    assert code_commit(package) == f"{commit} with changes"


def test_first_free_folder_is_taken_in_turn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(new_folder(None, "default").path) for _ in range(3)] == [
        f"runs/default-00{n}" for n in (1, 2, 3)
    ]


def test_a_full_shelf_is_told_with_the_key_that_names_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gdro.runs.folder.range", lambda *_: range(1), raising=False)
    new_folder(None, "mine")
    with pytest.raises(RunError, match="--set run_name="):
        new_folder(None, "mine")


@pytest.mark.parametrize("name", ["1e-5", "on", "2026-11-28"])
def test_the_settings_on_a_model_s_card_load_as_the_run_s_own(tmp_path, name):
    run = RunFolder(tmp_path)
    run.model.mkdir()
    config = load_config("default", [f'run_name="{name}"'])
    run.write_config(config.to_yaml())
    start = {"version": "1", "train_prompts": 1, "heldout_prompts": 0, "machine": machine()}
    run.record.write_text(json.dumps({"event": "start", **start}) + "\n")
    card = write_card(run).read_text(encoding="utf-8")
    assert f"# {name}\n" in card
    path = tmp_path / "again.yaml"
    path.write_text(card.partition("```yaml\n")[2].partition("```")[0])
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("name", "speed"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA GeForce RTX 4090", 165.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40", None),
        ("NVIDIA RTX A1000 Laptop GPU", None),
        ("NVIDIA A10G", None),
    ],
)
def test_a_gpu_is_known_by_its_whole_name(monkeypatch, name, speed):
    properties = SimpleNamespace(name=name, total_memory=24e9)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: properties)
    found, said = this_machine("bfloat16")
    assert found.get("peak_tflops") == speed
    assert name in said


def test_a_named_folder_may_exist_only_empty(tmp_path):
    assert new_folder(str(tmp_path), "x").path == tmp_path
    (tmp_path / "config.yaml").touch()
    with pytest.raises(RunError, match="--resume"):
        new_folder(str(tmp_path), "x")
    assert old_folder(tmp_path) == RunFolder(tmp_path)


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        old_folder(tmp_path / "nowhere")


def test_a_start_killed_before_it_wrote_its_settings_left_an_empty_folder(tmp_path):
    (tmp_path / ".config.yaml.123.tmp").write_text("steps: 1")
    assert new_folder(str(tmp_path), "x").path == tmp_path


def test_one_process_at_a_time_writes_a_run(tmp_path):
    (tmp_path / ".report.123.tmp").touch()
    with held(RunFolder(tmp_path)):
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(RunError, match="another process"), held(RunFolder(tmp_path)):
            pass
    with held(RunFolder(tmp_path)):
        pass


def _write(path, steps):
    writer = RecordWriter(path)
    writer.write("start", bins=3)
    for step in steps:
        writer.write("step", step=step, reward=step / 7, controller={"share": [math.nan, 1.0]})
        if step % 2 == 0:
            writer.write("checkpoint", step=step)
    writer.close()


def test_record_is_json_with_null_for_nan(tmp_path):
    path = tmp_path / "metrics.jsonl"
    _write(path, [1])
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["event"] for event in events] == ["start", "step"]
    assert events[1]["controller"]["share"] == [None, 1.0]


@given(st.integers(0, 9), st.integers(0, 40))
def test_cut_back_leaves_what_a_shorter_run_would_have_written(tmp_path_factory, step, torn):
    folder = tmp_path_factory.mktemp("record")
    long, short = folder / "long.jsonl", folder / "short.jsonl"
    _write(long, range(1, 10))
    _write(short, range(1, step + 1))
    with long.open("ab") as file:
        file.write(b'{"event": "step", "step": 10, "reward": 0.123456789}'[:torn])
    kept = cut_back(long, step)
    assert long.read_bytes() == short.read_bytes()
    assert [event["event"] for event in kept].count("step") == step


def test_cut_back_drops_the_end_and_needs_no_record(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert cut_back(path, 5) == []
    writer = RecordWriter(path)
    writer.write("end", step=5)
    writer.close()
    assert cut_back(path, 5) == []


def test_what_followed_the_checkpoint_of_the_step_is_written_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = RecordWriter(path)
    for event in ("evaluation", "step", "checkpoint", "resume", "evaluation", "end"):
        writer.write(event, step=5)
    writer.close()
    assert [event["event"] for event in cut_back(path, 5)] == [
        "evaluation",
        "step",
        "checkpoint",
        "resume",
    ]


@given(
    st.recursive(
        st.none() | st.floats() | st.text() | st.integers(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_without_nan_always_gives_strict_json(value):
    json.dumps(without_nan(value), allow_nan=False)
