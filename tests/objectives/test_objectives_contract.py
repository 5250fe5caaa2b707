"""What holds for every objective: order of rows, ragged groups, micro-batches, extremes."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from toy_policy import Batch

from gdro.core.advantages import flat_advantages
from gdro.core.errors import OptionError
from gdro.objectives import OBJECTIVES, make_objective
from gdro.objectives.batchwise import coefficients, linear_loss
from gdro.objectives.dagrpo import ANCHOR, FINE, DaGRPO
from gdro.objectives.rules import Rollouts, RowRule, ruled_advantages

SIZES = [6, 2, 7, 1, 5, 8]
OTHER = {
    "grpo": {},
    "dppo": {"prune": 0.9, "design": "bernoulli", "unpruned_share": 1.0},
    "pps": {"prune": 0.8, "unit": "prompt"},
    "cppo": {"prune": 0.2},
    "dagrpo": {"d_min": 0.9, "anchors": "solution", "threshold": -1.0},
    "disco": {
        "score": "Lratio",
        "tau": 0.1,
        "basic": True,
        "delta": 1.0,
        "beta": 0.0,
        "threshold": 2.0,
    },
    "direct_reward": {"beta": 3.0, "tau": 1.0, "mode": "top1", "length_normalised": True},
}
"""A value other than the default for each option that has an effect by itself."""
TOGETHER = {"dagrpo": {"fine", "anchor_stats", "anchor_loss"}}
"""Options that need another one, or an engine."""
STEP = 3


def batch(seed=0):
    made = Batch(SIZES, seed=seed)
    made.reward[made.group == 1] = 0.0
    made.reward[int((made.group == 0).nonzero()[0])] = 1.0
    made.logp_old = made.logp_old + 0.05
    made.fine = torch.where(made.reward > 0.5, 0.5 + made.logp_old[:, 0].sigmoid() / 2, 0.3)
    return made


def row_losses(objective, made):
    """(R,) constants a_j and the function whose sum over rows is the loss of a row rule."""
    rollouts = Rollouts(
        made.reward.numpy(),
        made.group.numpy(),
        tuple(made.names),
        seed=1,
        step=STEP,
        columns={FINE: made.fine.numpy()},
    )
    if isinstance(objective, DaGRPO) and objective.anchors is not None:
        rollouts = objective.with_anchors(rollouts, np.ones(len(SIZES), dtype=bool))
    advantages = ruled_advantages(
        objective, rollouts, flat_advantages, np.ones(len(SIZES))
    ).advantages
    anchor = torch.from_numpy(rollouts.columns.get(ANCHOR, np.zeros(len(advantages))))

    def loss(rows):
        logp = made.logp(rows)
        ratio = torch.exp(logp - made.logp_old[rows])
        if isinstance(objective, DaGRPO):
            ratio = torch.where(anchor[rows, None] > 0, objective.gain(logp), ratio)
        per_row = (ratio * made.mask[rows]).sum(1) / made.mask[rows].sum(1)
        return -(torch.from_numpy(advantages)[rows] * per_row).sum() / len(made.group)

    return loss


def parts(objective, made, micro_batches):
    """The gradient as the sum over micro-batches, each differentiated by itself."""
    if isinstance(objective, RowRule):
        loss = row_losses(objective, made)
    else:
        with torch.no_grad():
            values = objective.values(made.logp(), made.logp_old, made.mask)
        found = coefficients(objective, values, made.reward, made.group, names=made.names)

        def loss(rows):
            own = objective.values(made.logp(rows), made.logp_old[rows], made.mask[rows])
            return linear_loss(found.each[rows], own)

    return sum(
        made.gradient(loss(rows)) for rows in torch.arange(len(made.group)).chunk(micro_batches)
    )


def reordered(made, seed):
    """The same rollouts with their prompts mixed otherwise; a prompt's own keep their order, by
    which alone they are told apart."""
    group = made.group.numpy()
    slots = np.random.default_rng(seed).permutation(group)
    order = np.empty(len(group), dtype=int)
    for number in range(len(SIZES)):
        order[slots == number] = np.flatnonzero(group == number)
    for name in ("group", "tokens", "mask", "reward", "logp_old", "fine"):
        setattr(made, name, getattr(made, name)[torch.from_numpy(order)])
    return made


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_order_of_rows_changes_nothing(name):
    objective = make_objective(name)
    expected = parts(objective, batch(), 1)
    assert expected.abs().max() > 1e-3
    for seed in range(3):
        assert torch.allclose(parts(objective, reordered(batch(), seed), 1), expected, atol=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("micro_batches", [2, 5, 29])
def test_micro_batches_sum_to_the_gradient_of_the_whole_batch(name, micro_batches):
    objective = make_objective(name)
    whole = parts(objective, batch(), 1)
    assert torch.allclose(parts(objective, batch(), micro_batches), whole, rtol=1e-9, atol=1e-13)
    if not isinstance(objective, RowRule):
        made = batch()
        values = objective.values(made.logp(), made.logp_old, made.mask)
        direct = made.gradient(objective.loss(values, made.reward, made.group).loss)
        assert torch.allclose(direct, whole, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", ["disco", "direct_reward"])
@pytest.mark.parametrize("on_policy", [True, False])
def test_rollouts_that_do_not_matter_have_no_coefficients(name, on_policy):
    objective, made = make_objective(name), batch()
    if on_policy:
        made.logp_old = made.logp().detach()
    made.reward[made.group == 2] = 1.0
    values = objective.values(made.logp(), made.logp_old, made.mask).detach()
    found = coefficients(objective, values, made.reward, made.group)
    matters = objective.matters(made.reward, made.group, on_policy)
    assert not (found.has_gradient & ~matters).any()
    assert matters.any()
    if on_policy:
        assert not matters.all()
    if on_policy and not objective.reads_level:
        nothing = torch.zeros_like(made.logp_old)
        known = objective.values(nothing, nothing, made.mask)
        assert torch.allclose(known[:, :-1], values[:, :-1])
    empty = torch.zeros(0)
    assert objective.matters(empty, empty.long(), on_policy).shape == (0,)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_rollout_sees_no_other_question(name):
    """A question's rewards change: the gradient of another question keeps its direction."""
    objective = make_objective(name, {"delta": 100.0} if name == "disco" else None)
    if name in ("dppo", "pps"):
        objective = make_objective(name, {"prune": 0.0})
    made = batch()
    before = parts(objective, made, 1)
    made.reward[made.group == 2] = 0.0
    after = parts(objective, made, 1)
    for number in (0, 4, 5):
        first, second = before[number].flatten(), after[number].flatten()
        if first.norm() > 0:
            assert torch.nn.functional.cosine_similarity(first, second, dim=0) > 1 - 1e-9


@pytest.mark.parametrize("name", OBJECTIVES)
def test_extremes_stay_finite(name):
    objective = make_objective(name)
    made = batch()
    with torch.no_grad():
        made.policy.logits.mul_(200.0)
    made.logp_old = made.logp().detach()
    assert torch.isfinite(parts(objective, made, 3)).all()
    for rewards in (torch.zeros, torch.ones):
        made.reward = rewards(len(made.group), dtype=torch.float64)
        made.fine = made.reward.clone()
        assert not parts(objective, made, 3).any()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_option_changes_the_gradient_and_is_known(name):
    known = {option.name for option in fields(OBJECTIVES[name])}
    assert set(OTHER[name]) | TOGETHER.get(name, set()) == known
    plain = parts(make_objective(name), batch(), 1)
    for option, value in OTHER[name].items():
        changed = parts(make_objective(name, {option: value}), batch(), 1)
        assert not torch.allclose(changed, plain, rtol=1e-6), option
    if name == "dagrpo":
        anchored = [
            parts(make_objective(name, {"anchors": "solution"} | changed), batch(), 1)
            for changed in ({}, {"anchor_stats": "all"}, {"anchor_loss": "likelihood"})
        ]
        for other in anchored[1:]:
            assert not torch.allclose(anchored[0], other, rtol=1e-6)
    with pytest.raises(OptionError, match="no option 'nonsense'"):
        make_objective(name, {"nonsense": 1})


def test_an_unknown_name_lists_the_known():
    with pytest.raises(OptionError, match="choose one of grpo, dppo"):
        make_objective("ppo")
