"""Objectives in verl: the rows' advantages are the rule's, and what verl cannot do is refused."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import gdro
from gdro.core.errors import OptionError
from gdro.engines.session import ControllerSession
from gdro.engines.verl.bridge import VerlBridge
from gdro.engines.verl.objective import TrainingPosition, row_rule
from gdro.engines.verl.settings import read_settings
from gdro.objectives import make_objective
from gdro.objectives.rules import Rollouts, ruled_advantages

IDS = [f"toy/{place}" for place in range(4)]
UIDS = [f"u{place}" for place in range(4)]


def bridge(objective: object, name: str = "prompt_gdro", kind: str = "grpo") -> VerlBridge:
    controller = gdro.make_controller(name, mean_rollouts=8, reward_range=(0.0, 1.0))
    return VerlBridge(ControllerSession(controller), kind, row_rule(objective, kind, controller))


HERE = TrainingPosition(3, 5, 0.1)


def answered(one: VerlBridge, progress: TrainingPosition = HERE):
    """Two outputs a session, rows shuffled, one row of verl's padding."""
    rollouts = one.plan(IDS, UIDS)
    keys = [
        f"{uid}_{session}_{output}"
        for uid, n in zip(UIDS, rollouts, strict=True)
        for session in range(n)
        for output in range(2)
    ]
    order = np.random.default_rng(0).permutation(len(keys))
    keys = [keys[place] for place in order] + ["padding_0_0"]
    reward = {key: np.random.default_rng(number_of(key)).integers(0, 4) / 3 for key in keys}
    padding = [False] * len(order) + [True]
    scores = np.array([reward[key] for key in keys])
    return keys, scores, one.observe(keys, padding, scores, progress)


def number_of(key: str) -> int:
    return int.from_bytes(key.rsplit("_", 1)[0].encode(), "little") % 2**31


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo"])
@pytest.mark.parametrize(
    "objective",
    ["dppo", "pps", "cppo", {"name": "dagrpo", "d_min": 0.5}, {"name": "dppo", "prune": 0.0}],
)
def test_rows_have_the_advantages_of_the_rule(objective, kind):
    one = bridge(objective, kind=kind)
    keys, scores, answer = answered(one)
    sessions = sorted(
        {tuple(key.split("_")[:2]) for key in keys[:-1]}, key=lambda s: (s[0], int(s[1]))
    )
    reward = {tuple(key.split("_")[:2]): score for key, score in zip(keys, scores, strict=True)}
    rollouts = Rollouts(
        np.array([reward[session] for session in sessions]),
        np.array([UIDS.index(session[0]) for session in sessions]),
        tuple(IDS),
        seed=3,
        step=5,
        progress=0.1,
    )

    def compare(rewards, groups):
        return gdro.flat_advantages(rewards, groups, kind, epsilon=1e-6, ddof=1)

    options = {"name": objective} if isinstance(objective, str) else dict(objective)
    rule = make_objective(options.pop("name"), options)
    expected = ruled_advantages(rule, rollouts, compare, np.ones(4))
    found = dict(zip(sessions, expected.advantages, strict=True))
    for key, value in zip(keys[:-1], answer.advantages_R, strict=False):
        assert value == pytest.approx(found[tuple(key.split("_")[:2])], abs=1e-12)
    assert answer.advantages_R[-1] == 0.0
    assert (answer.factors_R == 1.0).all()
    assert answer.metrics == {f"gdro/objective/{k}": v for k, v in expected.metrics.items()}


def test_the_controllers_weights_enter_before_the_rule():
    plain, ruled = bridge("grpo", "maxrl"), bridge({"name": "dppo", "prune": 0.0}, "maxrl")
    _, scores, before = answered(plain)
    _, _, after = answered(ruled)
    assert plain.rule is None
    rows = before.rows
    own = np.zeros(len(scores))
    for finals in rows.finals:
        group = scores[list(finals)]
        spread = group.std(ddof=1) + 1e-6
        own[list(finals)] = (group - group.mean()) / spread if np.ptp(group) else 0.0
    expected = own[rows.final_R] * before.factors_R
    assert after.advantages_R[:-1] == pytest.approx(expected[:-1], abs=1e-12)


def test_the_same_step_draws_the_same_rollouts_and_another_step_others():
    draws = [
        answered(bridge("dppo"), TrainingPosition(1, step, 0.1))[2].advantages_R.tobytes()
        for step in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(
    ("objective", "name", "kind", "words"),
    [
        ("disco", "uniform", "grpo", "loss of its own"),
        ("direct_reward", "uniform", "grpo", "loss of its own"),
        ({"name": "dagrpo", "fine": "partial"}, "uniform", "grpo", "fine"),
        ({"name": "dagrpo", "anchors": "answer"}, "uniform", "grpo", "anchors"),
        ("dppo", "paper", "grpo", "losses of all rollouts"),
        ("dppo", "uniform", "gae", "adv_estimator=grpo"),
        ({"prune": 0.5}, "uniform", "grpo", "lacks a name"),
        ("dpo", "uniform", "grpo", "choose one of"),
    ],
)
def test_what_verl_cannot_do_is_refused(objective, name, kind, words):
    with pytest.raises(OptionError, match=words):
        row_rule(objective, kind, gdro.make_controller(name))


def test_the_section_holds_the_objective():
    given = {"name": "dppo", "prune": 0.3}
    section = read_settings({"gdro": {"controller": "uniform", "objective": given}})
    assert section.objective == given
    assert section.options == {}
    with pytest.raises(OptionError, match="objective"):
        read_settings({"gdro": {"objective": 3}})


@pytest.mark.skipif(not list(metadata.distributions(name="verl")), reason="needs verl")
def test_stock_verl_trains_on_the_rules_advantages(tmp_path: Path) -> None:
    import launch
    import toy_task

    steps = 2
    (tmp_path / "model").mkdir()
    toy_task.write_task(tmp_path, launch.PROMPTS)
    toy_task.write_model(tmp_path / "model")
    chosen = ("++gdro.controller=uniform", "~gdro.allocator", "+gdro.objective=cppo")
    with launch.running(tmp_path, steps, "cppo", chosen) as run:
        assert run.wait(900) == 0, (tmp_path / "cppo.log").read_text()[-3000:]
    lines = (tmp_path / "cppo-metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line)["data"] for line in lines]
    rewards = [json.loads(r) for r in (tmp_path / "cppo-rewards.jsonl").read_text().splitlines()]
    rows = launch.BATCH * launch.MEAN_ROLLOUTS
    assert len(metrics) == steps
    for step, data in enumerate(metrics):
        here = rewards[step * rows : (step + 1) * rows]
        ids = sorted({row["id"] for row in here})
        groups = np.array([ids.index(row["id"]) for row in here])
        scores = np.array([row["score"] for row in here])
        own = gdro.flat_advantages(scores, groups, "grpo", epsilon=1e-6, ddof=1)
        kept = [np.sort(np.abs(own[groups == place]))[-2:] for place in range(len(ids))]
        assert data["gdro/objective/rollouts_trained"] == (np.concatenate(kept) > 0).sum() / rows
        largest = max(data["critic/advantages/max"], -data["critic/advantages/min"])
        assert largest == pytest.approx(np.abs(own).max(), rel=1e-5, abs=1e-6)
