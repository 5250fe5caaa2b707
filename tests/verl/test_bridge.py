"""verl's prompt ids, rows and uids before a session: missing rollouts, strange rows, factors."""

from __future__ import annotations

import numpy as np
import pytest

import gdro
from gdro.core.errors import PlanError, PromptIdError, RewardError
from gdro.engines.session import ControllerSession
from gdro.engines.verl.bridge import VerlBridge
from gdro.engines.verl.rows import prompt_id, prompt_ids, read_rows

IDS = [f"toy/{place}" for place in range(6)]
UIDS = [f"u{place}" for place in range(6)]


def bridge(name: str = "joint", weighting: str = "prompt", **options: object) -> VerlBridge:
    return VerlBridge(
        ControllerSession(gdro.make_controller(name, mean_rollouts=4, **options), weighting)
    )


def keys_for(rollouts: np.ndarray) -> list[str]:
    return [
        f"{uid}_{session}_0" for uid, n in zip(UIDS, rollouts, strict=True) for session in range(n)
    ]


def step(one: VerlBridge, scores=lambda keys: np.arange(len(keys)) % 3 / 2.0):
    keys = keys_for(one.plan(IDS, UIDS))
    return keys, one.observe(keys, [False] * len(keys), scores(keys))


def test_prompt_weighting_gives_every_prompt_the_same_total() -> None:
    one = bridge("rollout_gdro")
    passes = np.array([0, 1, 1, 1, 1, 1])  # prompt 0 never succeeds, the others do half of the time
    for _ in range(4):
        _, answer = step(
            one,
            lambda keys: np.array(
                [passes[int(key[1])] * (int(key.split("_")[1]) % 2) for key in keys]
            ),
        )
    counts = answer.rows.counts
    assert len(set(counts.tolist())) > 1
    totals = np.bincount(answer.rows.prompts_R, weights=answer.factors_R)
    np.testing.assert_allclose(totals, 4.0, rtol=1e-12)


def test_uniform_leaves_verl_alone() -> None:
    _, answer = step(bridge("uniform"))
    assert (answer.factors_R == 1.0).all()


def test_the_one_rollout_left_of_a_group_trains_nothing() -> None:
    """verl gives it its raw reward as advantage."""
    one = bridge()
    keys = keys_for(one.plan(IDS, UIDS))
    left = [key for key in keys if not key.startswith("u0") or key == "u0_2_0"]
    answer = one.observe(left, [False] * len(left), np.ones(len(left)))
    assert answer.rows.counts[0] == 1
    assert (answer.factors_R[answer.rows.prompts_R == 0] == 0.0).all()
    assert (answer.factors_R[answer.rows.prompts_R > 0] == 1.0).all()


def test_the_tokens_of_a_prompt_are_those_of_its_sessions_without_padding() -> None:
    """A session of two outputs counts once, by the sum of both."""
    one = bridge("live_gdro", selector={"token_power": 1.0})
    keys = [key for key in keys_for(one.plan(IDS, UIDS)) if not key.startswith("u2")]
    keys, told = [*keys, "u1_0_1", "padding"], {}
    one.session.controller.observe_tokens = lambda ids, values: told.update(
        zip(ids, values.tolist(), strict=True)
    )
    tokens = np.array([10.0 * int(key[1]) + 2.0 for key in keys[:-2]] + [8.0, 999.0])
    padding = [False] * (len(keys) - 1) + [True]
    one.observe(keys, padding, np.arange(len(keys)) % 2.0, tokens_R=tokens)
    assert told == {"toy/0": 2.0, "toy/1": 14.0, "toy/3": 32.0, "toy/4": 42.0, "toy/5": 52.0}


def test_losses_are_those_of_the_prompts_that_came() -> None:
    one = bridge("paper")
    keys = [key for key in keys_for(one.plan(IDS, UIDS)) if not key.startswith("u2")]
    one.observe(keys, [False] * len(keys), np.zeros(len(keys)))
    told = {}
    one.session.controller.observe_losses = lambda ids, values: told.update(
        zip(ids, values, strict=True)
    )
    one.observe_losses(np.array([4.0, 8.0, 0.0, 4.0, 4.0, 4.0]), 20.0)
    assert told == {"toy/0": 1.0, "toy/1": 2.0, "toy/3": 1.0, "toy/4": 1.0, "toy/5": 1.0}
    one.plan(IDS, UIDS)
    one.observe([], [], np.zeros(0))
    told.clear()
    one.observe_losses(np.zeros(6), 0.0)
    assert told == {}, "nothing came"


def test_rows_of_other_prompts_and_strange_keys_are_refused() -> None:
    with pytest.raises(PlanError, match="uid u9, which no plan names"):
        read_rows(["u9_0_0"], [False], {"u0": 0})
    with pytest.raises(PlanError, match="is not <uid>_<session>_<output>"):
        read_rows(["u0"], [False], {"u0": 0})


def test_a_nan_score_names_the_prompt() -> None:
    one = bridge()
    keys = keys_for(one.plan(IDS, UIDS))
    with pytest.raises(RewardError, match="toy/"):
        one.observe(keys, [False] * len(keys), np.full(len(keys), np.nan))


def test_ids_are_source_and_index() -> None:
    infos = [{"index": 7}, {"index": "a/b"}, {"index": np.int64(7)}, {"index": 7.0}]
    ids = prompt_ids(["math", "math", "gsm8k", "aime"], infos)
    assert ids == ["math/7", "math/a/b", "gsm8k/7", "aime/7"]


STRANGE = [
    {"index": odd}
    for odd in ([1], {}, b"x", np.True_, np.array([1, 2]), float("nan"), float("inf"))
]


@pytest.mark.parametrize(
    "info", [None, {}, {"index": None}, {"index": True}, {"index": 1.5}, {"index": ""}, *STRANGE]
)
def test_a_row_without_a_usable_index_is_named(info: object) -> None:
    with pytest.raises(PromptIdError, match=r"row 3 .*extra_info"):
        prompt_id("math", info, 3)


def test_two_rows_with_one_id_are_named() -> None:
    with pytest.raises(PromptIdError, match="rows 0 and 2 of the batch are both prompt 'math/1'"):
        prompt_ids(["math"] * 3, [{"index": 1}, {"index": 2}, {"index": 1}])


def test_a_source_is_a_name() -> None:
    with pytest.raises(PromptIdError, match="data_source=None"):
        prompt_id(None, {"index": 1}, 0)
