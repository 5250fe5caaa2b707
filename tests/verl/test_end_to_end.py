"""Stock verl, two data-parallel workers, ragged groups, padding rows: train, kill, resume; the
state is the core's.

The reward function writes down every reward and the plug-in logs the workers' losses; replaying
both through the bare core must give, bit for bit, the state in verl's checkpoint: after the kill,
and after the resumed run.
"""

from __future__ import annotations

import json
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import launch
import numpy as np
import pytest
import toy_task

import gdro

KILL_AFTER, MORE, LIMIT = 3, 2, 900
ROWS = launch.BATCH * launch.MEAN_ROLLOUTS
SOURCE = [f"toy/p{place}" for place in range(launch.PROMPTS)]


def latest(folder: Path) -> int:
    marker = folder / "checkpoints" / "latest_checkpointed_iteration.txt"
    text = marker.read_text() if marker.exists() else ""
    return int(text) if text else 0


def state(folder: Path, step: int) -> dict:
    return gdro.load_state(folder / "checkpoints" / f"global_step_{step}" / "gdro.npz")


def lines(path: Path, count: int) -> list[dict]:
    """The first `count` records; a killed run leaves more, of a step that no checkpoint holds."""
    rows = path.read_text().splitlines()[:count]
    assert len(rows) == count, f"{path.name} has {len(rows)} records, not {count}"
    return [json.loads(row) for row in rows]


def replay(
    core: gdro.Controller, folder: Path, name: str, steps: range
) -> tuple[list[list[int]], list[float], list[float]]:
    """Play a run's rewards and losses through the bare core.

    Returns each step's plan, and the largest and smallest advantage that verl must have trained on:
    its own GRPO advantage times the prompt's weight and mean rollouts / its rollouts.
    """
    rewards = lines(folder / f"{name}-rewards.jsonl", ROWS * len(steps))
    losses = lines(folder / f"{name}-losses.jsonl", len(steps))
    plans, highs, lows = [], [], []
    for place, step in enumerate(steps):
        start = step * launch.BATCH % launch.PROMPTS  # the data is not shuffled
        ids = SOURCE[start : start + launch.BATCH]
        plans.append(core.plan(ids).rollouts.tolist())
        by_id = defaultdict(list)
        for row in rewards[place * ROWS : (place + 1) * ROWS]:
            by_id[row["id"]].append(row["score"])
        weights = core.observe(ids, [by_id[prompt_id] for prompt_id in ids]).weights
        advantages = [
            weight
            * launch.MEAN_ROLLOUTS
            / len(by_id[i])
            * (np.array(by_id[i]) - np.mean(by_id[i]))
            / (np.std(by_id[i], ddof=1) + 1e-6)
            for i, weight in zip(ids, weights, strict=True)
        ]
        highs.append(float(np.concatenate(advantages).max()))
        lows.append(float(np.concatenate(advantages).min()))
        assert list(losses[place]) == ids
        assert np.isfinite(list(losses[place].values())).all()
        core.observe_losses(ids, list(losses[place].values()))
    return plans, highs, lows


@pytest.fixture(scope="module")
def stoppable() -> Iterator[None]:
    """SIGTERM (a cancelled CI job) ends the tests like Ctrl-C, so that they still take Ray down
    with them."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, stoppable: None) -> tuple[Path, int]:
    """A run killed after KILL_AFTER steps and resumed for MORE; the folder, and the last step
    before the kill."""
    folder = tmp_path_factory.mktemp("verl")
    (folder / "model").mkdir()
    toy_task.write_task(folder, launch.PROMPTS)
    toy_task.write_model(folder / "model")
    with launch.running(folder, 99, "first") as first:
        stop = time.monotonic() + LIMIT
        while latest(folder) < KILL_AFTER:
            log = (folder / "first.log").read_text()[-3000:]
            assert first.poll() is None, f"verl stopped by itself:\n{log}"
            assert time.monotonic() < stop, f"no {KILL_AFTER} steps in {LIMIT} s:\n{log}"
            time.sleep(0.2)
        launch.kill(first)
    killed_at = latest(folder)
    with launch.running(folder, killed_at + MORE, "second") as second:
        assert second.wait(LIMIT) == 0, (folder / "second.log").read_text()[-3000:]
    return folder, killed_at


def test_state_survives_the_kill_and_equals_the_bare_core(runs: tuple[Path, int]) -> None:
    folder, killed_at = runs
    core = gdro.make_controller(
        "joint", bins=4, allocator={"utility": "surrogate"}, mean_rollouts=launch.MEAN_ROLLOUTS
    )
    plans, _, _ = replay(core, folder, "first", range(killed_at))
    saved = state(folder, killed_at)
    assert gdro.state_hash(core.state_dict()) == gdro.state_hash(saved["session"]["controller"])
    assert gdro.state_hash(saved["session"]) in (folder / "second.log").read_text(), (
        "the resumed run names the state it restored"
    )
    later, highs, lows = replay(core, folder, "second", range(killed_at, killed_at + MORE))
    plans += later
    trained_on = [
        json.loads(line)["data"]
        for line in (folder / "second-metrics.jsonl").read_text().splitlines()
    ]
    np.testing.assert_allclose(
        [data["critic/advantages/max"] for data in trained_on], highs, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        [data["critic/advantages/min"] for data in trained_on], lows, rtol=1e-5, atol=1e-6
    )
    final = state(folder, killed_at + MORE)
    assert gdro.state_hash(core.state_dict()) == gdro.state_hash(final["session"]["controller"])
    assert final["session"]["controller"]["steps_seen"] == killed_at + MORE
    assert final["session"]["skipped"] == 0
    assert all(sum(plan) == ROWS for plan in plans)
    assert any(len(set(plan)) > 1 for plan in plans), (
        "no ragged plan in this run; it tests less than it says"
    )


def test_metrics_are_in_verls_logger_and_sums_are_not(runs: tuple[Path, int]) -> None:
    folder, killed_at = runs
    records = [
        json.loads(line) for line in (folder / "second-metrics.jsonl").read_text().splitlines()
    ]
    assert [record["step"] for record in records] == [killed_at + 1, killed_at + 2]
    for record in records:
        data = record["data"]
        assert data["gdro/step"] == record["step"]
        assert data["gdro/batch_rollouts"] == ROWS
        assert data["gdro/prompt_mean"] == 1.0
        assert data["gdro/skipped_steps"] == 0.0
        assert {
            "gdro/shadow_price",
            "gdro/weight_max",
            "timing_s/gdro_plan",
            "timing_s/gdro_observe",
        } <= set(data)
        assert not [key for key in data if "gdro_loss" in key]


def test_verl_padded_the_batch_and_two_workers_trained(runs: tuple[Path, int]) -> None:
    log = (runs[0] / "second.log").read_text()
    assert f"Upsampled batch from {ROWS} to 24 with 8 synthetic padding samples" in log
    assert (
        runs[0]
        / "checkpoints"
        / f"global_step_{runs[1]}"
        / "actor"
        / "model_world_size_2_rank_1.pt"
    ).exists()


def test_stock_verl_found_the_trainer_by_its_entry_point(runs: tuple[Path, int]) -> None:
    """Nothing but the entry point names the plug-in to verl's processes; without it, mode gdro
    would be unknown."""
    assert "gdro" not in launch.SHIM["VERL_USE_EXTERNAL_MODULES"]
    assert "gdro: restored" in (runs[0] / "second.log").read_text()
