"""The four adapters' own code between an engine's batch and a session, each without its engine.

Each driver plays one batch: it plans, hands in the rewards that came (None for a rollout that has
none) in the form in which its engine would, and gives back the advantages that the engine would
train on, by prompt and rollout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest

import gdro
from gdro.engines.session import ControllerSession
from gdro.engines.slime.bridge import SlimeBridge
from gdro.engines.tinker.bridge import PlannedBatch
from gdro.engines.verl.bridge import VerlBridge

Reward = float | None
Play = Callable[[ControllerSession, Sequence[str], Callable[[str, int], Reward]], list[np.ndarray]]
"""(session, prompt ids, reward of a prompt's j-th rollout) -> advantages of each prompt's scored
rollouts."""


def verl(
    session: ControllerSession, ids: Sequence[str], reward: Callable[[str, int], Reward]
) -> list[np.ndarray]:
    """verl drops a failed session's rows, pads the batch, shuffles it, and computes advantages by
    group itself."""
    bridge = VerlBridge(session)
    uids = [f"u{place}" for place in range(len(ids))]
    rollouts = bridge.plan(ids, uids)
    rows = [
        (f"{uid}_{j}_0", reward(prompt, j))
        for uid, prompt, n in zip(uids, ids, rollouts.tolist(), strict=True)
        for j in range(n)
    ]
    rows = [row for row in rows if row[1] is not None]
    rows = [*rows, ("pad_0_0", 0.0)]
    order = np.random.default_rng(0).permutation(len(rows))
    keys, scores = [rows[i][0] for i in order], np.array([rows[i][1] for i in order], float)
    answer = bridge.observe(keys, [key.startswith("pad") for key in keys], scores)
    groups = [scores[list(final)] for final in answer.rows.finals]
    own = gdro.group_advantages([group for group in groups if len(group)], epsilon=1e-6, ddof=1)
    stock = iter(own)
    out = []
    for final in answer.rows.finals:
        places = list(final)
        if not places:
            out.append(np.empty(0))
            continue
        group = next(stock)
        if len(places) == 1:  # as verl has it
            group = scores[places]
        base = group if answer.advantages_R is None else answer.advantages_R[places]
        out.append(answer.factors_R[places] * base)
    return out


def slime(
    session: ControllerSession, ids: Sequence[str], reward: Callable[[str, int], Reward]
) -> list[np.ndarray]:
    """slime hands in every sample, in any order."""
    bridge = SlimeBridge(session)
    groups = [70 + place for place in range(len(ids))]
    rollouts = bridge.plan(ids, groups)
    rows = [
        (g, reward(i, j))
        for g, i, n in zip(groups, ids, rollouts.tolist(), strict=True)
        for j in range(n)
    ]
    order = np.random.default_rng(1).permutation(len(rows))
    found = np.empty(len(rows))
    found[order] = bridge.observe([rows[i][0] for i in order], [rows[i][1] for i in order])
    scored = [row for row, (_, value) in enumerate(rows) if value is not None]
    unscored = [row for row, (_, value) in enumerate(rows) if value is None]
    assert (found[unscored] == 0.0).all()
    return [found[[row for row in scored if rows[row][0] == group]] for group in groups]


def tinker(
    session: ControllerSession, ids: Sequence[str], reward: Callable[[str, int], Reward]
) -> list[np.ndarray]:
    """tinker-cookbook's groups report one by one; its advantage is the reward minus the group's
    mean."""

    async def play() -> list[np.ndarray]:
        batch = PlannedBatch(session, ids, lambda: None)
        groups = [
            [r for j in range(n) if (r := reward(prompt, j)) is not None]
            for prompt, n in zip(ids, batch.plan.rollouts.tolist(), strict=True)
        ]
        asked = [batch.factor(place, group) for place, group in enumerate(groups)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        if isinstance(answers[-1], BaseException):  # whoever reported last has the reason
            raise answers[-1]
        means = [np.mean(group) if group else 0.0 for group in groups]
        return [
            factor * (np.array(g) - m) for factor, g, m in zip(answers, groups, means, strict=True)
        ]

    return asyncio.run(play())


def trl(
    session: ControllerSession, ids: Sequence[str], reward: Callable[[str, int], Reward]
) -> list[np.ndarray]:
    """TRL gives NaN for a completion that no reward function scored."""
    pytest.importorskip("trl", reason="TRL and verl cannot share an environment")
    from gdro.engines.trl.advantages import batch_advantages
    from gdro.engines.trl.batch import PromptBatch

    batch = PromptBatch(tuple(ids), tuple({"id": prompt_id} for prompt_id in ids))
    plan = session.plan(batch.ids)
    groups = batch.ragged(plan)
    told = [
        reward(i, j) for i, n in zip(ids, plan.rollouts.tolist(), strict=True) for j in range(n)
    ]
    rewards = np.array([np.nan if value is None else value for value in told])
    answer = session.observe(batch.scored(rewards, plan))
    own = batch_advantages(rewards[:, None], rewards, np.ones(1), groups, answer, "grpo", 1, None)
    assert (own[np.isnan(rewards)] == 0.0).all()
    weighted = own * answer.factors[groups]
    return [weighted[(groups == place) & ~np.isnan(rewards)] for place in range(len(ids))]


PLAYS: dict[str, Play] = {"trl": trl, "verl": verl, "slime": slime, "tinker": tinker}
EPSILON = {"trl": 1e-4, "verl": 1e-6, "slime": 1e-6}
"""What each engine adds to a standard deviation; tinker-cookbook divides by none."""


def expected(
    engine: str,
    groups: list[list[float]],
    factors: np.ndarray,
    feedback: gdro.Feedback | None = None,
):
    """The advantages of the bare core, as that engine has them, times the factors."""
    if engine == "tinker":
        plain = gdro.group_advantages(groups, "dr_grpo")
    else:
        plain = gdro.group_advantages(groups, epsilon=EPSILON[engine], ddof=1)
    if feedback is not None and feedback.baselines is not None:
        terms = zip(groups, feedback.baselines, feedback.deviations, strict=True)
        plain = [(np.array(group) - b) / d for group, b, d in terms]
    return [factor * group for factor, group in zip(factors, plain, strict=True)]
