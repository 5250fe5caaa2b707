"""Per-prompt losses from the workers: the right mean for every number of workers, micro- and
mini-batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from verl.utils import tensordict_utils
from verl.utils.metric import Metric, reduce_metrics
from verl.utils.py_functional import append_to_dict, rename_dict
from verl.utils.torch_functional import masked_mean
from verl.workers.config import ActorConfig
from verl.workers.utils.losses import ppo_loss

import gdro
from gdro.engines.session import ControllerSession
from gdro.engines.verl.bridge import VerlBridge
from gdro.engines.verl.losses import (
    FACTOR,
    GROUP,
    ppo_loss_with_sums,
    sum_by_prompt,
    surrogate_losses,
    take_sums,
    unweighted,
)


def nested(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def test_surrogate_by_hand() -> None:
    ratio = torch.tensor([[1.5, 1.0], [0.5, 2.0]])
    advantages = torch.tensor([[2.0, 2.0], [-1.0, -1.0]])
    mask = torch.tensor([[1, 1], [1, 0]])
    losses = surrogate_losses(ratio, advantages, mask, None, 0.2, 0.3)
    torch.testing.assert_close(losses, torch.tensor([-(1.3 * 2 + 2) / 2, 0.8], dtype=torch.float64))
    with_kl = surrogate_losses(ratio, advantages, mask, torch.full((2, 2), 0.1), 0.2, 0.3)
    torch.testing.assert_close(with_kl - losses, torch.full((2,), 0.1, dtype=torch.float64))


def test_a_rollout_of_factor_0_has_loss_0() -> None:
    found = unweighted(torch.tensor([[0.0, 0.0], [3.0, 1.0]]), torch.tensor([[0.0], [2.0]]))
    assert found.tolist() == [[0.0, 0.0], [1.5, 0.5]]


def test_padding_rows_add_nothing() -> None:
    sums, rows = sum_by_prompt(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1, -1, 1]), 3)
    assert (sums.tolist(), rows) == ([0.0, 5.0, 0.0], 2.0)


def through_verl(
    losses: np.ndarray, groups: np.ndarray, prompts: int, shape: tuple[int, int, int]
) -> dict:
    """The rows' way through verl's own metric code: micro-batches, gather over workers,
    mini-batches, reduction."""
    workers, minis, micros = shape
    order = np.random.default_rng(0).permutation(len(losses))
    over_minis: dict = {}
    for mini in np.array_split(order, minis):
        gathered: dict = {}
        for share in np.array_split(mini, workers):
            local: dict = {}
            for micro in np.array_split(share, micros):
                sums, rows = sum_by_prompt(
                    torch.tensor(losses[micro]), torch.tensor(groups[micro]), prompts
                )
                metrics = {"gdro_loss/rows": Metric("sum", rows)}
                metrics |= {
                    f"gdro_loss/{place:06d}": Metric("sum", value)
                    for place, value in enumerate(sums.tolist())
                }
                append_to_dict(local, metrics)
            for key, value in local.items():
                gathered.setdefault(key, []).append(value)
        append_to_dict(
            over_minis, {key: Metric.aggregate_dp(value) for key, value in gathered.items()}
        )
    return reduce_metrics(rename_dict(over_minis, "actor/"))


@settings(max_examples=40)
@given(
    shape=st.tuples(
        st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2])
    ),
    seed=st.integers(0, 1000),
)
def test_every_split_gives_each_prompts_mean(shape: tuple[int, int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    one = VerlBridge(ControllerSession(gdro.make_controller("paper", mean_rollouts=4)))
    ids = [f"toy/{place}" for place in range(12)]
    rollouts = one.plan(ids, ids)
    keys = [
        f"{uid}_{session}_0" for uid, n in zip(ids, rollouts, strict=True) for session in range(n)
    ]
    one.observe(keys, [False] * len(keys), random.random(len(keys)).round())
    groups = np.repeat(np.arange(12), rollouts)
    losses = random.normal(size=len(keys))
    metrics = through_verl(np.append(losses, [9.0] * 4), np.append(groups, [-1] * 4), 12, shape)
    told = {}
    one.session.controller.observe_losses = lambda names, values: told.update(
        zip(names, values, strict=True)
    )
    one.observe_losses(*take_sums(metrics, 12))
    assert metrics == {}
    np.testing.assert_allclose(
        list(told.values()), np.bincount(groups, losses) / rollouts, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("use_kl", [False, True])
def test_the_loss_of_verl_stays_as_it_is(use_kl: bool) -> None:
    torch.manual_seed(0)
    lengths = [(3, 4), (2, 2), (4, 3)]
    config = ActorConfig(
        strategy="fsdp2",
        rollout_n=2,
        ppo_micro_batch_size_per_gpu=1,
        use_kl_loss=use_kl,
        kl_loss_coef=0.5,
        clip_ratio_high=0.28,
    )
    row = {
        name: nested([torch.randn(response) * 0.1 for _, response in lengths])
        for name in ("old_log_probs", "ref_log_prob", "advantages")
    }
    data = TensorDict(
        row
        | {
            "prompts": nested([torch.ones(prompt, dtype=torch.int64) for prompt, _ in lengths]),
            "responses": nested(
                [torch.ones(response, dtype=torch.int64) for _, response in lengths]
            ),
            "response_mask": nested(
                [torch.ones(response, dtype=torch.int64) for _, response in lengths]
            ),
            GROUP: torch.tensor([0, 1, 0]),
            FACTOR: torch.tensor([2.0, 0.5, 2.0]),
        },
        batch_size=3,
    )
    tensordict_utils.assign_non_tensor(data, dp_size=1, batch_num_tokens=9, global_batch_size=3)
    output = {"log_probs": nested([torch.randn(sum(length)) * 0.1 for length in lengths])}
    stock, stock_metrics = ppo_loss(config, output, data)
    loss, metrics = ppo_loss_with_sums(config, 2, output, data)
    assert float(loss) == float(stock)
    assert set(stock_metrics) < set(metrics)
    log_probs, starts = output["log_probs"].unbind(), [prompt - 1 for prompt, _ in lengths]
    by_hand = []
    for place, (_, response) in enumerate(lengths):
        new = log_probs[place][starts[place] : starts[place] + response]
        advantages = row["advantages"][place] / data[FACTOR][place]
        ratio = (new - row["old_log_probs"][place]).exp()
        value = -torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages)
        if use_kl:
            gap = row["ref_log_prob"][place] - new
            value = value + 0.5 * (gap.exp() - gap - 1).clamp(-10, 10)
        by_hand.append(float(masked_mean(value, torch.ones(response))))
    assert metrics["gdro_loss/000000"].aggregate() == pytest.approx(
        by_hand[0] + by_hand[2], rel=1e-5
    )
    assert metrics["gdro_loss/000001"].aggregate() == pytest.approx(by_hand[1], rel=1e-5)
    assert metrics["gdro_loss/rows"].aggregate() == 3.0
