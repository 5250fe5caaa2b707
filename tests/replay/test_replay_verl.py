"""The recorded stream through the verl adapter's own code (numpy only), against the bare core: bit
for bit the same.

What comes from verl is imitated in its own forms: fresh uids, keys `<uid>_<session>_<output>`, rows
shuffled over workers, padding rows, several outputs in one session, and loss sums scaled by workers
and mini-batches.
"""

from __future__ import annotations

import numpy as np
import pytest
from replay_stream import (
    CONTROLLERS,
    FACTOR,
    MEAN_ROLLOUTS,
    PROMPTS,
    SEED,
    TEXTS,
    Replay,
    Step,
    bare_core,
    expected,
    load_stream,
    make,
    name_of,
)

import gdro
from gdro.engines.session import ControllerSession
from gdro.engines.verl.bridge import VerlBridge, candidates_of


class Recorded:
    """The stream's prompts as verl's training set holds them; a sample is its id."""

    column_names = ("data_source", "extra_info", "prompt")

    def __init__(self) -> None:
        self.dataframe = self
        self.ids = [name_of(place) for place in range(PROMPTS)]

    def select_columns(self, names: list[str]) -> Columns:
        parts = [prompt_id.split("/") for prompt_id in self.ids]
        columns = {
            "data_source": [part[0] for part in parts],
            "extra_info": [{"index": int(p[1])} for p in parts],
            "prompt": [[{"role": "user", "content": text}] for text in TEXTS],
        }
        return Columns({name: columns[name] for name in names})

    def __getitem__(self, place: int) -> str:
        return self.ids[place]


class Columns(dict):
    """`frame[:]` gives all rows, `frame[[3, 1]]` these."""

    def __getitem__(self, key):
        if isinstance(key, list):
            return {name: [column[place] for place in key] for name, column in self.items()}
        return self if key == slice(None) else super().__getitem__(key)


def rows_of(answers: list[list[float]], uids: list[str], random: np.random.Generator):
    """Keys, padding flags and scores of a batch as verl's trainer sees it."""
    keys, scores = [], []
    for uid, rewards in zip(uids, answers, strict=True):
        count = len(rewards)
        for session in range(count):
            # an agent loop with two outputs: the last one has the session's reward
            outputs = 1 + session % 2
            keys += [f"{uid}_{session}_{output}" for output in range(outputs)]
            scores += [-7.0] * (outputs - 1) + [rewards[session]]
    keys, scores = [*keys, "pad0_0_0", "pad0_1_0"], [*scores, 0.0, 0.0]
    order = random.permutation(len(keys))
    keys = [keys[row] for row in order]
    return keys, [key.startswith("pad") for key in keys], np.array(scores)[order]


def bridge_of(name: str, weighting: str) -> VerlBridge:
    """verl's side of a new session."""
    controller = make(name)
    pool = candidates_of(controller, Recorded(), FACTOR, SEED) if controller.selects else None
    return VerlBridge(ControllerSession(controller, weighting, pool=pool))


def through_adapter(
    name: str, steps: list[Step], weighting: str = "row", restart_at: int | None = None
) -> Replay:
    random = np.random.default_rng(1)
    bridge, out = bridge_of(name, weighting), Replay()
    for number, step in enumerate(steps):
        if number == restart_at:
            state = bridge.session.state_dict()
            bridge = bridge_of(name, weighting)
            bridge.session.load_state_dict(state)
        ids, pool = step.prompt_ids, bridge.session.pool
        if pool is not None:
            ids = pool.rows(pool.choose(step.prompt_ids, number), {})
            out.chosen.append(ids)
        uids = [f"{number:04d}-{place:04d}" for place in range(len(step.prompt_ids))]
        rollouts = bridge.plan(ids, uids)
        answer = bridge.observe(
            *rows_of(step.rewards_of(ids, rollouts.tolist(), number), uids, random)
        )
        rows = answer.rows
        assert (answer.factors_R[rows.prompts_R < 0] == 1.0).all()
        out.rollouts.append(rollouts.tolist())
        firsts = [int(np.flatnonzero(rows.prompts_R == place)[0]) for place in range(len(uids))]
        factors = answer.factors_R[firsts]
        assert (
            answer.factors_R[rows.prompts_R >= 0] == factors[rows.prompts_R[rows.prompts_R >= 0]]
        ).all()
        out.weights.append(
            (factors * rollouts / MEAN_ROLLOUTS if weighting == "prompt" else factors).tolist()
        )
        if answer.advantages_R is not None:
            assert (answer.advantages_R[rows.prompts_R < 0] == 0.0).all()
            assert (answer.advantages_R == answer.advantages_R[rows.final_R]).all(), (
                "one advantage for a whole session"
            )
            out.advantages.append(
                answer.advantages_R[np.concatenate(rows.finals).astype(int)].tolist()
            )
        if bridge.session.controller.needs_losses:
            counts = np.bincount(rows.prompts_R[rows.prompts_R >= 0])
            bridge.observe_losses(np.array(step.losses) * counts / 4.0, rows.real / 4.0)
    out.state = gdro.state_hash(bridge.session.controller.state_dict())
    return out


@pytest.mark.parametrize("name", CONTROLLERS)
def test_the_adapter_decides_as_the_core(name: str) -> None:
    steps = load_stream()
    core, adapter = bare_core(name, steps), through_adapter(name, steps)
    assert adapter.chosen == core.chosen
    assert adapter.rollouts == core.rollouts
    assert adapter.weights == core.weights
    assert adapter.advantages == core.advantages
    assert adapter.digest() == expected(name)
    assert adapter.state == core.state


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_restart_changes_nothing(name: str) -> None:
    steps = load_stream()
    assert through_adapter(name, steps, restart_at=11) == through_adapter(name, steps)


def test_prompt_weighting_takes_the_rollouts_out_of_the_factor() -> None:
    steps = load_stream()
    by_prompt, by_row = through_adapter("joint", steps, "prompt"), through_adapter("joint", steps)
    np.testing.assert_allclose(
        np.concatenate(by_prompt.weights), np.concatenate(by_row.weights), rtol=1e-12
    )
