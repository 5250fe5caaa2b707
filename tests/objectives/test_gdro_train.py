"""Objectives in `gdro train`: named in the settings, seen in the record."""

import json

import pytest

from forked import QUICK, gdro

SMALL = [
    *QUICK,
    *(
        "max_steps=2",
        "prompts_per_step=16",
        "data.size=64",
        "data.heldout_size=24",
        "evaluation.num_generations=2",
    ),
    "lr_scheduler_type=constant",
]
RUNS = {
    "disco": (["objective=disco", "per_device_train_batch_size=16"], "questions_all_wrong"),
    "dagrpo": (["objective={name: dagrpo, anchors: answer}"], "anchors"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_trains_with_an_objective(name, tmp_path):
    settings, metric = RUNS[name]
    sets = [
        part
        for one in (*SMALL, *settings, f"output_dir={tmp_path / 'run'}")
        for part in ("--set", one)
    ]
    done = gdro("train", *sets)
    assert done.returncode == 0, done.stderr
    events = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    steps = [event for event in events if event["event"] == "step"]
    assert len(steps) == 2
    assert any(step["grad_norm"] > 0 for step in steps)
    assert all(metric in step["objective"] for step in steps)
