"""The main job on two processes, as torchrun starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from forked import TWO_STEPS, on_two

SMALL = [*TWO_STEPS, "save_steps=1"]
EVALUATED = "eval_steps=1"
ENVIRONMENT = os.environ | {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def _gdro(*arguments):
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "--no-python",
    ]
    command = [*launch, str(Path(sys.executable).with_name("gdro")), *arguments]
    return subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=400, check=False
    )


def _sets(*settings):
    return [part for setting in settings for part in ("--set", setting)]


def test_a_run_on_two_processes_ends_cleanly_and_a_finished_one_is_not_resumed(tmp_path):
    run = tmp_path / "run"
    done = _gdro("train", *_sets(*SMALL, EVALUATED, f"output_dir={run}"))
    assert done.returncode == 0, done.stderr[-3000:]
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert events[0]["machine"]["processes"] == 2
    steps = [event for event in events if event["event"] == "step"]
    assert [event["rollouts_total"] for event in steps] == [64, 128]
    assert [sum(event["verifier"].values()) for event in steps] == [64, 64], (
        "both processes' answers are counted"
    )
    assert events[-1]["event"] == "end"
    assert (run / "report.html").is_file()
    for again in on_two("train", "--resume", str(run)):
        assert again.returncode == 2
        assert "is finished" in again.stderr


def test_several_processes_need_a_folder():
    for done in on_two("train", *_sets(*SMALL)):
        assert done.returncode == 2
        assert (
            "with several processes the folder must be named: --set output_dir=DIR" in done.stderr
        )
