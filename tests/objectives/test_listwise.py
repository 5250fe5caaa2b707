"""The listwise loss against its definition, the loss of DPO and finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.core.errors import GDROError, OptionError, RewardError
from gdro.objectives.listwise import listwise_loss
from gdro.objectives.rows import ObjectiveError

F64 = torch.float64


def by_definition(scores, rewards, tau, top1=False):
    """The formula of the module docstring for one group without ties, item by item."""
    order = sorted(range(len(scores)), key=lambda i: -rewards[i])
    total = 0.0
    for i in range(len(order) - 1):
        rest = order[i:]
        z = [math.exp((rewards[j] - rewards[rest[0]]) / tau) for j in rest]
        target = [value / sum(z) for value in z]
        total += math.log(sum(math.exp(scores[j]) for j in rest))
        total -= sum(q * scores[j] for q, j in zip(target, rest, strict=True))
        if top1:
            break
    return total


def rows(groups):
    """Scores, rewards and group numbers of a list of (scores, rewards)."""
    score = torch.tensor([s for scores, _ in groups for s in scores], dtype=F64, requires_grad=True)
    reward = torch.tensor([r for _, rewards in groups for r in rewards], dtype=F64)
    numbers = [number for number, (scores, _) in enumerate(groups) for _ in scores]
    return score, reward, torch.tensor(numbers, dtype=torch.int64)


def drawn(seed, sizes, levels=None):
    generator = np.random.default_rng(seed)
    result = []
    for size in sizes:
        rewards = generator.permutation(size) / size
        if levels:
            rewards = generator.integers(levels, size=size)
        result.append((generator.normal(size=size).tolist(), rewards.astype(float).tolist()))
    return rows(result)


@pytest.mark.parametrize("mode", ["full", "top1"])
@pytest.mark.parametrize("tau", [0.05, 0.5, 3.0])
def test_it_is_the_formula_on_ragged_groups(mode, tau):
    score, reward, group = drawn(0, [2, 5, 3, 7])
    each = listwise_loss(score, reward, group, tau, mode, "none").loss
    for number in range(4):
        mine = group == number
        expected = by_definition(score[mine].tolist(), reward[mine].tolist(), tau, mode == "top1")
        assert each[number].item() == pytest.approx(expected, rel=1e-12)


def test_pairs_at_small_tau_are_the_loss_of_dpo():
    score, reward, group = drawn(1, [2] * 50)
    s, r = score.view(50, 2), reward.view(50, 2)
    ahead = torch.where(r[:, 0] > r[:, 1], s[:, 0] - s[:, 1], s[:, 1] - s[:, 0])
    dpo = -torch.nn.functional.logsigmoid(ahead)
    for tau in (0.0, 1e-300, 0.01):
        each = listwise_loss(score, reward, group, tau, "full", "none").loss
        assert torch.allclose(each, dpo, atol=1e-12, rtol=0), tau
    far = listwise_loss(score, reward, group, 0.1, "full", "none").loss
    assert (far - dpo).abs().max() > 1e-3


@pytest.mark.parametrize("mode", ["full", "top1"])
def test_gradient_by_finite_differences(mode):
    score, reward, group = drawn(2, [4, 3, 6, 1], levels=3)

    def loss(s):
        return listwise_loss(s, reward, group, 0.3, mode).loss

    assert torch.autograd.gradcheck(loss, (score,))


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    levels=st.integers(1, 4),
)
@settings(max_examples=60)
def test_the_order_of_rows_changes_nothing_ties_included(seed, sizes, levels):
    score, reward, group = drawn(seed, sizes, levels)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(score)))
    for mode in ("full", "top1"):
        one = listwise_loss(score, reward, group, 0.3, mode)
        other = listwise_loss(score[order], reward[order], group[order], 0.3, mode)
        assert torch.allclose(one.loss, other.loss, rtol=1e-12)
        left, right = (
            torch.autograd.grad(one.loss, score)[0],
            torch.autograd.grad(other.loss, score)[0],
        )
        assert torch.allclose(left, right, atol=1e-14)
        assert one.rank_agreement == pytest.approx(other.rank_agreement, nan_ok=True)


def test_adding_a_constant_to_scores_or_rewards_of_a_group_changes_nothing():
    score, reward, group = drawn(3, [4, 5], levels=3)
    shift = torch.tensor([7.0, -3.0], dtype=F64)[group]
    plain = listwise_loss(score, reward, group, 0.3).loss
    assert torch.allclose(listwise_loss(score + shift, reward, group, 0.3).loss, plain, rtol=1e-12)
    assert torch.allclose(listwise_loss(score, reward + shift, group, 0.3).loss, plain, rtol=1e-9)


def test_groups_of_one_and_equal_rewards_have_no_gradient_and_are_counted():
    groups = [([0.3], [1.0]), ([0.1, 0.9, -2.0], [0.5] * 3), ([0.2, 0.4], [0.0, 1.0])]
    score, reward, group = rows(groups)
    result = listwise_loss(score, reward, group)
    (gradient,) = torch.autograd.grad(result.loss, score)
    assert (result.groups, result.singletons, result.tied) == (3, 1, 1)
    assert torch.equal(gradient[:4], torch.zeros(4, dtype=F64))
    alone = listwise_loss(score[4:], reward[4:], group[4:])
    assert result.loss.item() == pytest.approx(alone.loss.item())
    assert result.winner_score == pytest.approx(0.4)
    assert result.loser_score == pytest.approx(0.2)


def test_tied_losers_are_not_drawn_together():
    score, reward, group = rows([([0.0, 1.0, -1.0], [1.0, 0.0, 0.0])])
    tied = listwise_loss(score, reward, group, 0.01, "full").loss
    assert tied.item() == pytest.approx(math.log(1 + math.e + math.exp(-1)))


def test_nothing_left_is_zero_with_a_graph():
    for score, reward, group in (rows([([0.3], [1.0])]), rows([])):
        result = listwise_loss(score, reward, group)
        result.loss.backward()
        assert result.loss.item() == 0.0
        assert torch.equal(score.grad, torch.zeros_like(score))
        assert math.isnan(result.rank_agreement)


def test_scores_far_apart_stay_finite():
    score, reward, group = rows([([1e4, -1e4, 0.0], [0.0, 1.0, 0.5])])
    result = listwise_loss(score, reward, group, 1e-6)
    (gradient,) = torch.autograd.grad(result.loss, score)
    assert torch.isfinite(result.loss)
    assert torch.isfinite(gradient).all()
    assert result.rank_agreement == 0.0


def test_half_precision_scores_are_compared_in_single():
    score, reward, group = drawn(4, [6, 6])
    half = listwise_loss(score.to(torch.bfloat16), reward, group, 0.3).loss
    assert half.dtype == torch.float32
    whole = listwise_loss(score, reward, group, 0.3).loss
    assert half.item() == pytest.approx(whole.item(), rel=1e-2)


def test_bad_input_names_the_prompt():
    score, reward, group = rows([([0.0, 1.0], [0.0, 1.0]), ([0.0, 1.0], [0.0, 1.0])])
    bad = score.detach().clone()
    bad[2] = math.nan
    with pytest.raises(ObjectiveError, match=r"score of row 2 \(prompt 'p1'\) is nan"):
        listwise_loss(bad, reward, group, names=["p0", "p1"])
    reward[3] = math.inf
    with pytest.raises(RewardError, match=r"reward of row 3 \(group 1\) is inf"):
        listwise_loss(score, reward, group)
    with pytest.raises(ObjectiveError, match="give one entry a row"):
        listwise_loss(score[:3], reward, group)
    with pytest.raises(ObjectiveError, match="integers"):
        listwise_loss(score, reward, group.double())
    for options in ({"tau": -1.0}, {"tau": math.nan}, {"mode": "all"}, {"reduction": "avg"}):
        with pytest.raises(OptionError):
            listwise_loss(score, reward, group, **options)
    assert issubclass(ObjectiveError, GDROError)
