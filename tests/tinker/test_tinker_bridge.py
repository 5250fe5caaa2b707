"""The waiting room of a batch, without tinker: everyone reports, then everyone has a factor."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import gdro
from gdro.core.errors import PlanError, RewardError
from gdro.engines.session import ControllerSession
from gdro.engines.tinker.bridge import PlannedBatch

IDS = [f"toy/{place}" for place in range(5)]


def session(weighting: str = "prompt") -> ControllerSession:
    return ControllerSession(gdro.make_controller("joint", mean_rollouts=4), weighting)


def opened(one: ControllerSession, answered=lambda: None) -> PlannedBatch:
    return PlannedBatch(one, IDS, answered)


def rewards_of(batch: PlannedBatch) -> list[list[float]]:
    return [
        [float(turn % 4 < place) for turn in range(n)]
        for place, n in enumerate(batch.plan.rollouts)
    ]


def gather(batch: PlannedBatch, rewards: list[list[float]]) -> list[float]:
    async def run() -> list[float]:
        tasks = [batch.factor(place, rewards[place]) for place in (3, 0, 4, 1, 2)]
        done = await asyncio.gather(*tasks)
        return [done[(3, 0, 4, 1, 2).index(place)] for place in range(5)]

    return asyncio.run(run())


@pytest.mark.parametrize("weighting", ["prompt", "row"])
def test_factors_are_those_of_the_core_whatever_the_order_of_reports(weighting: str) -> None:
    one, bare = session(weighting), gdro.make_controller("joint", mean_rollouts=4)
    calls = []
    for _ in range(6):
        batch = opened(one, lambda: calls.append(1))
        plan = bare.plan(IDS)
        assert plan.rollouts.tolist() == batch.plan.rollouts.tolist()
        assert plan.total == 4 * len(IDS)
        factors = gather(batch, rewards_of(batch))
        expected = bare.observe(IDS, rewards_of(batch)).weights
        if weighting == "prompt":
            expected = expected * (4 / plan.rollouts)
        np.testing.assert_array_equal(factors, expected)
    assert len(set(plan.rollouts.tolist())) > 1
    assert len(calls) == 6
    assert gdro.state_hash(one.controller.state_dict()) == gdro.state_hash(bare.state_dict())
    assert one.metrics()["gdro/step"] == bare.metrics()["step"]
    assert np.isfinite(list(one.metrics().values())).all()


def test_the_tokens_of_the_groups_reach_a_controller_that_needs_them() -> None:
    """Those of a group that failed are not known."""
    made = gdro.make_controller("live_gdro", mean_rollouts=4, selector={"token_power": 1.0})
    batch, told = opened(ControllerSession(made)), {}
    made.observe_tokens = lambda ids, values: told.update(zip(ids, values.tolist(), strict=True))
    rewards = rewards_of(batch)

    async def run() -> None:
        batch.report(2, ())
        others = (3, 0, 4, 1)
        await asyncio.gather(*(batch.factor(i, rewards[i], 10.0 + i) for i in others))

    asyncio.run(run())
    assert told == {"toy/0": 10.0, "toy/1": 11.0, "toy/3": 13.0, "toy/4": 14.0}


def test_a_refused_reward_reaches_every_group_and_the_next_batch() -> None:
    one = session()
    batch = opened(one)
    rewards = rewards_of(batch)
    rewards[1][0] = float("nan")

    async def run() -> list[object]:
        return await asyncio.gather(
            *(batch.factor(i, rewards[i]) for i in range(5)), return_exceptions=True
        )

    answers = asyncio.run(run())
    assert [type(answer) for answer in answers] == [PlanError] * 4 + [RewardError]
    assert "toy/1" in str(answers[-1])
    with pytest.raises(
        PlanError, match="the rewards of the last batch were refused: RewardError: prompt 'toy/1'"
    ):
        opened(one)


def test_only_the_first_report_of_a_group_counts() -> None:
    one = session()
    batch = opened(one)
    rewards = rewards_of(batch)

    async def run() -> list[float]:
        async def group(place: int) -> float:
            try:
                return await batch.factor(place, rewards[place])
            finally:
                batch.report(place, ())

        return await asyncio.gather(*(group(place) for place in range(5)))

    assert len(asyncio.run(run())) == 5
    assert one.skipped == 0
