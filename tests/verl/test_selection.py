"""Stock verl trains on the prompts that a controller chooses: the default, told the texts, against
the bare core, over two workers. Its advantages, against its posterior, take the place of verl's."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import launch
import numpy as np
import toy_task

import gdro
from gdro.engines.candidates import CandidatePool
from gdro.engines.compat import DEFAULT_CONTROLLER

STEPS, CANDIDATES, LIMIT = 3, 2, 900
ROWS = launch.BATCH * launch.MEAN_ROLLOUTS
IDS = [f"toy/p{place}" for place in range(launch.PROMPTS)]
CHOSEN = ("~gdro.controller", f"+gdro.candidates={CANDIDATES}", "~gdro.allocator")


def test_the_chosen_prompts_are_generated_and_learned_from(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    toy_task.write_task(tmp_path, launch.PROMPTS)
    toy_task.write_model(tmp_path / "model")
    with launch.running(tmp_path, STEPS, "live", CHOSEN) as run:
        assert run.wait(LIMIT) == 0, (tmp_path / "live.log").read_text()[-3000:]
    rewards = [
        json.loads(line) for line in (tmp_path / "live-rewards.jsonl").read_text().splitlines()
    ]
    assert len(rewards) == ROWS * STEPS
    core = gdro.make_controller(DEFAULT_CONTROLLER, bins=4, mean_rollouts=launch.MEAN_ROLLOUTS)
    assert core.reads_texts
    core.describe(IDS, [f"w{place % toy_task.WORDS}" for place in range(launch.PROMPTS)])
    pool = CandidatePool(core, IDS, CANDIDATES, seed=0)
    as_they_came, advantages = 0, []
    for step in range(STEPS):
        start = step * launch.BATCH % launch.PROMPTS  # the data is not shuffled
        drawn = IDS[start : start + launch.BATCH]
        chosen = pool.choose(drawn, step + 1)  # verl counts steps from 1
        by_id = defaultdict(list)
        for row in rewards[step * ROWS : (step + 1) * ROWS]:
            by_id[row["id"]].append(row["score"])
        assert set(by_id) == set(chosen)
        assert {prompt_id: len(scores) for prompt_id, scores in by_id.items()} == dict.fromkeys(
            chosen, 4
        )
        core.plan(chosen)
        groups = [by_id[prompt_id] for prompt_id in chosen]
        feedback = core.observe(chosen, groups)
        assert (feedback.weights == 1.0).all()
        advantages.append(np.concatenate(gdro.group_advantages(groups, feedback=feedback)))
        as_they_came += set(chosen) == set(drawn)
    assert as_they_came < STEPS, (
        "the controller chose what came in every step; this run tests less than it says"
    )
    saved = gdro.load_state(tmp_path / "checkpoints" / f"global_step_{STEPS}" / "gdro.npz")
    assert gdro.state_hash(core.state_dict()) == gdro.state_hash(saved["session"]["controller"])
    metrics = [
        json.loads(line)["data"]
        for line in (tmp_path / "live-metrics.jsonl").read_text().splitlines()
    ]
    assert all("timing_s/gdro_select" in data for data in metrics)
    for name in ("max", "min"):
        core_has = [getattr(step, name)() for step in advantages]
        np.testing.assert_allclose(
            [data[f"critic/advantages/{name}"] for data in metrics], core_has, rtol=1e-5
        )
