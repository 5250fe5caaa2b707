"""One real comparison end to end: two methods, two seeds, three steps; all runs but one are there
already, that one is killed on the way and gone on with (side by side: test_compare_jobs.py)."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from forked import CELLS, Forked, gdro, started
from gdro.cli import main
from gdro.core.state import load_state
from gdro.lab.compare_archive import load_archive, published_settings
from gdro.lab.compare_jobs import GDRO, JobFolder
from gdro.lab.compare_plan import jobs_of, read_plan

PLAN = """
name: small
seeds: [0, 1]
overrides:
  max_steps: 3
  prompts_per_step: 16
  data: {size: 32, heldout_size: 32, cells: CELLS}
  verifier: {kind: exact}
  eval_steps: 1
  evaluation: {num_generations: 4}
  save_steps: 1
methods:
  uniform: {controller: uniform}
  joint: {controller: {name: joint, eta: 7.0}}
""".replace("CELLS", CELLS)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(folder, what the first command said, its exit status, the second's): the first loses a run
    to a kill."""
    folder = tmp_path_factory.mktemp("compare")
    root = folder / "out"
    root.mkdir()
    (root / "plan.yaml").write_text(PLAN)
    _train_all_but_one(root)
    with started("compare", str(root)) as comparing:
        _kill_after_a_checkpoint(root / "joint" / "seed-0", comparing)
        first = comparing.wait()
    again = main(["compare", str(root)])
    return root, first.stdout, first.returncode, again


def _train_all_but_one(root: Path) -> None:
    """The runs as an earlier start of the same comparison would have left them, but for seed 0 of
    `joint`."""
    for job in jobs_of(read_plan(root / "plan.yaml"), root):
        if (job.method, job.seed) != ("joint", 0):
            words = JobFolder(root, job).command()[len(GDRO) :]
            done = gdro(*words)
            assert done.returncode == 0, done.stderr


def _kill_after_a_checkpoint(run: Path, owner: Forked) -> None:
    """SIGKILL the process that writes a run, as soon as the run has a checkpoint."""
    record = run / "metrics.jsonl"
    while owner.is_alive() and not (
        record.exists() and '"event": "checkpoint"' in record.read_text()
    ):
        time.sleep(0.02)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == owner.pid and any(
            str(run.with_suffix(".yaml")).encode() == word for word in words
        ):
            os.kill(int(process.name), signal.SIGKILL)


def _events(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the run's process in /proc")
def test_a_killed_run_is_named_and_gone_on_with(compared):
    root, said, first, again = compared
    assert (first, again) == (1, 0)
    assert "joint seed 0: killed by SIGKILL; `gdro compare FOLDER` goes on with it" in said
    assert "joint seed 0: interrupted" in said
    assert any(event["event"] == "resume" for event in _events(root / "joint" / "seed-0"))
    for method in ("uniform", "joint"):
        for seed in (0, 1):
            events = _events(root / method / f"seed-{seed}")
            assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3]
            assert events[-1]["event"] == "end"


def test_every_method_starts_alike_and_sees_the_same_prompts_in_the_same_order(compared):
    root = compared[0]
    for seed in (0, 1):
        base, order = set(), set()
        for method in ("uniform", "joint"):
            run = root / method / f"seed-{seed}"
            base.add((run / "evaluations" / "step-000000.jsonl").read_bytes())
            state = load_state(run / "checkpoints" / "checkpoint-3" / "gdro_state.npz")
            order.add(json.dumps(_ids(state)))
        assert len(base) == len(order) == 1
    assert _ids(load_state(root / "joint/seed-0/checkpoints/checkpoint-3/gdro_state.npz")) != _ids(
        load_state(root / "joint/seed-1/checkpoints/checkpoint-3/gdro_state.npz")
    )


def _ids(state) -> list[str]:
    """Prompt ids in the order in which the controller first met them."""
    if isinstance(state, dict):
        if "ids" in state:
            return [str(one) for one in state["ids"]]
        for part in state.values():
            found = _ids(part)
            if found:
                return found
    return []


def test_table_figure_and_page_come_from_the_record_alone(compared):
    root = compared[0]
    names = ("table.md", "results.json", "figure.svg", "report.html")
    before = {name: (root / name).read_bytes() for name in names}
    for name in names:
        (root / name).unlink()
    assert main(["compare", str(root), "--report"]) == 0
    assert {name: (root / name).read_bytes() for name in names} == before
    results = json.loads(before["results.json"])
    assert results["missing"] == results["notes"] == []
    assert results["prompts"] == 32
    assert results["methods"]["joint"]["seeds"] == [0, 1]
    assert {entry["rollouts"] for entry in results["methods"].values()} == {192.0}
    last = [
        event for event in _events(root / "joint" / "seed-0") if event["event"] == "evaluation"
    ][-1]
    other = [
        event for event in _events(root / "joint" / "seed-1") if event["event"] == "evaluation"
    ][-1]
    mean = (last["pass_at_k"]["value"] + other["pass_at_k"]["value"]) / 2
    assert results["methods"]["joint"]["scores"]["pass_at_k"]["value"] == pytest.approx(
        mean, abs=1e-6
    )


def test_a_run_of_other_settings_is_not_mixed_in(compared, capsys):
    root = compared[0]
    plan = root / "plan.yaml"
    kept = plan.read_text()
    plan.write_text(kept.replace("eta: 7.0", "eta: 3.0"))
    try:
        assert main(["compare", str(root)]) == 2
    finally:
        plan.write_text(kept)
    assert "controller.eta 7.0, planned 3.0" in capsys.readouterr().err


def test_what_is_published_of_it_reports_the_same_and_says_what_each_evaluation_had_cost(
    compared, tmp_path, capsys
):
    root, folder = compared[0], tmp_path / "published"
    assert main(["compare", str(root), "--publish", str(folder)]) == 0
    table, ran = (folder / "table.md").read_text(), read_plan(folder / "plan.yaml").ran
    assert table.replace(f"Run {ran}.", "").split() == (root / "table.md").read_text().split()
    start = _events(root / "joint" / "seed-0")[0]
    code = f"commit {start['commit']}" if start["commit"] else f"gdro {start['version']}"
    assert ran.startswith(start["time"][:10])
    assert ran.endswith(f"code of {code}")
    assert (folder / "figure.svg").read_bytes() == (root / "figure.svg").read_bytes()
    assert "mean@4, equal tokens" in table
    assert "mean@4, equal seconds" in table
    assert "training reward at the end" in table
    assert published_settings(folder)["joint"][1]["controller.eta"] == 7.0
    assert load_archive(folder).runs["joint"][0].tokens[0] == 0.0
    assert main(["compare", str(folder / "plan.yaml"), "--check"]) == 0
    assert "small: 2 methods x 2 seeds = 4 runs" in capsys.readouterr().out
