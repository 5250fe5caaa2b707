"""The losses against Diffusion-DPO, their definitions, finite differences and permutations."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.core.errors import OptionError, RewardError
from gdro.diffusion import dgpo_loss, group_direct_reward_loss
from gdro.diffusion.training import _merged
from gdro.objectives.rows import ObjectiveError

F64 = torch.float64


def drawn(seed, sizes, levels=None):
    """err with a graph, err_ref, reward and group of groups of these sizes."""
    generator = torch.Generator().manual_seed(seed)
    count = sum(sizes)
    err = torch.rand(count, generator=generator, dtype=F64).requires_grad_()
    err_ref = torch.rand(count, generator=generator, dtype=F64)
    reward = torch.rand(count, generator=generator, dtype=F64)
    if levels:
        reward = (reward * levels).floor()
    group = torch.tensor([number for number, size in enumerate(sizes) for _ in range(size)])
    return err, err_ref, reward, group


def test_the_measures_of_a_batch_do_not_depend_on_how_it_is_split_into_passes():
    err, err_ref, reward, group = drawn(3, [4, 3, 2, 3], levels=3)
    reward[group == 2] = 1.0  # states nothing

    def measures(*passes):
        parts = []
        for groups in passes:
            mine = torch.isin(group, torch.tensor(groups))
            one = [values[mine] for values in (err, err_ref, reward, group)]
            parts.append(group_direct_reward_loss(*one, beta=5.0))
        return _merged(parts)

    whole = measures([0, 1, 2, 3])
    for name in ("groups", "stating", "tied", "winner_err", "loser_err", "winner_err_ref"):
        for split in ([[0, 1], [2, 3]], [[0], [1, 2, 3]], [[2], [0, 1, 3]]):
            assert measures(*split)[name] == pytest.approx(whole[name]), (name, split)


def diffusion_dpo(err, err_ref, reward, beta):
    """The loss of diffusers' script for one pair: its beta_dpo is twice ours."""
    winner, loser = (0, 1) if reward[0] > reward[1] else (1, 0)
    model_diff, ref_diff = err[winner] - err[loser], err_ref[winner] - err_ref[loser]
    beta_dpo = 2 * beta
    return -torch.nn.functional.logsigmoid(-0.5 * beta_dpo * (model_diff - ref_diff))


@pytest.mark.parametrize("tau", [0.0, 1e-3])
def test_pairs_with_a_cold_target_are_diffusion_dpo(tau):
    err, err_ref, reward, group = drawn(0, [2] * 20)
    reward = (reward * 10).floor() + torch.arange(40) % 2 * 0.5
    ours = group_direct_reward_loss(err, err_ref, reward, group, 7.0, tau).loss
    pairs = [slice(2 * g, 2 * g + 2) for g in range(20)]
    theirs = torch.stack([diffusion_dpo(err[p], err_ref[p], reward[p], 7.0) for p in pairs]).mean()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    mine, dpo = torch.autograd.grad(ours, err)[0], torch.autograd.grad(theirs, err)[0]
    assert torch.allclose(mine, dpo, atol=1e-6)


@pytest.mark.parametrize("mode", ["full", "top1"])
def test_the_formula_of_one_group(mode):
    err, err_ref, reward, group = drawn(1, [5])
    beta, tau, gamma = 3.0, 0.2, 0.7
    s = (-beta * (err - err_ref)).detach()
    order = torch.argsort(reward, descending=True)
    expected = gamma * err[order[0]].item()
    for i in range(1 if mode == "top1" else 4):
        rest = order[i:]
        q = torch.softmax(reward[rest] / tau, 0)
        expected += float(torch.logsumexp(s[rest], 0) - (q * s[rest]).sum())
    loss = group_direct_reward_loss(err, err_ref, reward, group, beta, tau, mode, gamma=gamma).loss
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "top1"}, {"gamma": 0.3}, {"clamp": 0.9, "gamma": 0.3}],
    ids=["full", "top1", "anchor", "clamp"],
)
def test_gradients_are_those_of_finite_differences(options):
    err, err_ref, reward, group = drawn(2, [4, 2, 1, 3], levels=3)

    def loss(values):
        return group_direct_reward_loss(values, err_ref, reward, group, 5.0, 0.4, **options).loss

    assert torch.autograd.gradcheck(loss, (err,), eps=1e-7, atol=1e-6)


@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    ties=st.booleans(),
)
@settings(max_examples=40)
def test_nothing_depends_on_the_order_of_the_images(seed, sizes, ties):
    err, err_ref, reward, group = drawn(seed, sizes, levels=3 if ties else None)
    order = torch.randperm(len(err), generator=torch.Generator().manual_seed(seed))
    for method in ("full", "top1", "dgpo"):

        def loss(*rows, method=method):
            if method == "dgpo":
                return dgpo_loss(*rows, 4.0)
            return group_direct_reward_loss(*rows, 4.0, 0.3, method, gamma=0.5, clamp=2.0)

        plain, mixed = (
            loss(err, err_ref, reward, group),
            loss(err[order], err_ref[order], reward[order], group[order]),
        )
        assert plain.loss.item() == pytest.approx(mixed.loss.item(), rel=1e-9, abs=1e-12)
        before, after = (
            torch.autograd.grad(plain.loss, err)[0],
            torch.autograd.grad(mixed.loss, err)[0],
        )
        assert torch.allclose(before, after, atol=1e-10)
        assert plain.metrics() == pytest.approx(mixed.metrics(), nan_ok=True)


def test_groups_that_prefer_nothing_are_counted_and_push_nothing():
    err, err_ref, _, group = drawn(3, [1, 3, 2])
    reward = torch.tensor([4.0, 1.0, 1.0, 1.0, 0.0, 2.0], dtype=F64)
    for found in (
        group_direct_reward_loss(err, err_ref, reward, group, 9.0, gamma=1.0),
        dgpo_loss(err, err_ref, reward, group, 9.0),
    ):
        assert (found.groups, found.stating, found.singletons, found.tied) == (3, 1, 1, 1)
        pushed = torch.autograd.grad(found.loss, err)[0]
        assert (pushed[:4] == 0).all()
        assert (pushed[4:] != 0).all()


def test_a_batch_without_any_preference_still_has_a_graph():
    err, err_ref, _, group = drawn(4, [2, 2])
    for found in (
        group_direct_reward_loss(err, err_ref, torch.ones(4, dtype=F64), group, 9.0, gamma=1.0),
        dgpo_loss(err, err_ref, torch.ones(4, dtype=F64), group, 9.0),
    ):
        assert found.loss.item() == 0.0
        assert (torch.autograd.grad(found.loss, err)[0] == 0).all()
        assert math.isnan(found.winner_err)


def test_sum_and_none_are_the_mean_times_the_stating_groups():
    err, err_ref, reward, group = drawn(5, [3, 1, 4])
    for call in (
        lambda how: group_direct_reward_loss(
            err, err_ref, reward, group, 2.0, reduction=how, gamma=0.4
        ),
        lambda how: dgpo_loss(err, err_ref, reward, group, 2.0, how),
    ):
        mean, total, each = call("mean"), call("sum").loss, call("none").loss
        assert mean.stating == 2
        assert each[1].item() == 0.0
        assert total.item() == pytest.approx(each.sum().item())
        assert total.item() == pytest.approx(2 * mean.loss.item())


def test_the_diagnostics_say_who_won():
    err = torch.tensor([0.2, 0.9, 0.5], dtype=F64, requires_grad=True)
    err_ref = torch.tensor([0.4, 0.6, 0.5], dtype=F64)
    found = group_direct_reward_loss(
        err, err_ref, torch.tensor([1.0, 0.0, 0.5]), torch.zeros(3, dtype=int), 10.0
    )
    assert found.winner_err == pytest.approx(0.2)
    assert found.loser_err == pytest.approx(0.9)
    assert found.winner_err_ref == pytest.approx(0.4)
    assert found.loser_err_ref == pytest.approx(0.6)
    assert found.rank_agreement == 1.0
    assert found.mean_s == pytest.approx((2.0 - 3.0 + 0.0) / 3)
    clamped = group_direct_reward_loss(
        err, err_ref, torch.tensor([1.0, 0.0, 0.5]), torch.zeros(3, dtype=int), 10.0, clamp=2.5
    )
    assert clamped.clamped == pytest.approx(1 / 3)
    assert torch.autograd.grad(clamped.loss, err)[0][1] == 0.0


def test_beta_on_the_sum_is_beta_on_the_mean_divided_by_the_elements():
    err, err_ref, reward, group = drawn(6, [4, 3])
    mean = group_direct_reward_loss(err, err_ref, reward, group, 64.0).loss
    summed = group_direct_reward_loss(64 * err, 64 * err_ref, reward, group, 1.0).loss
    assert mean.item() == pytest.approx(summed.item())


def test_dgpo_is_the_weighted_likelihood_of_its_paper():
    err, err_ref, reward, group = drawn(7, [6])
    beta = 5.0
    advantage = (reward - reward.mean()) / (reward.std(correction=0) + 1e-4)
    theirs = -torch.nn.functional.logsigmoid(-beta * (advantage * (err - err_ref)).mean()) / beta
    ours = dgpo_loss(err, err_ref, reward, group, beta).loss
    assert torch.allclose(
        torch.autograd.grad(ours, err)[0], torch.autograd.grad(theirs, err)[0], rtol=1e-10
    )


def test_wrong_input_names_the_row():
    err, err_ref, reward, group = drawn(8, [3])
    broken = reward.clone()
    broken[1] = math.nan
    with pytest.raises(RewardError, match="row 1"):
        group_direct_reward_loss(err, err_ref, broken, group, 1.0)
    with pytest.raises(ObjectiveError, match="err_ref"):
        group_direct_reward_loss(err, err_ref[:2], reward, group, 1.0)
    with pytest.raises(ObjectiveError, match="err of row 0"):
        dgpo_loss(err * math.inf, err_ref, reward, group, 1.0)
    for wrong in (
        {"beta": 0.0},
        {"beta": 1.0, "gamma": -1.0},
        {"beta": 1.0, "clamp": 0.0},
        {"beta": 1.0, "tau": -1.0},
    ):
        with pytest.raises(OptionError, match=list(wrong)[-1]):
            group_direct_reward_loss(err, err_ref, reward, group, **wrong)
