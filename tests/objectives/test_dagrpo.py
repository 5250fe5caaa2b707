"""DaGRPO: which rollouts are distinct, by brute force; what anchors change, and what they leave."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.core.advantages import flat_advantages
from gdro.core.errors import OptionError
from gdro.objectives.dagrpo import ANCHOR, FINE, DaGRPO, check_anchor, distinct, shaped_ratio
from gdro.objectives.rows import ObjectiveError
from gdro.objectives.rules import Rollouts, ruled_advantages

SIZES = [4, 3, 5, 2]


def drawn(seed=0, fine=True):
    random = np.random.default_rng(seed)
    groups = random.permutation(np.repeat(np.arange(len(SIZES)), SIZES))
    rewards = (random.random(len(groups)) < 0.5).astype(float)
    columns = {FINE: random.integers(0, 11, len(groups)) / 10} if fine else {}
    names = tuple(f"p{number}" for number in range(len(SIZES)))
    return Rollouts(rewards, groups, names, columns=columns)


def advantages(rule, rollouts):
    scale = np.arange(1.0, len(SIZES) + 1)
    return ruled_advantages(rule, rollouts, flat_advantages, scale)


@given(seed=st.integers(0, 2**32), d_min=st.sampled_from([0.0, 0.1, 0.25, 0.3, 1.0]))
@settings(max_examples=80)
def test_distinct_is_every_pair_looked_at(seed, d_min):
    rollouts = drawn(seed)
    fine, right, groups = rollouts.columns[FINE], rollouts.rewards == 1.0, rollouts.groups
    expected = np.zeros(len(fine), dtype=bool)
    for a, b in itertools.permutations(range(len(fine)), 2):
        tenths = round(10 * fine[a]) - round(10 * fine[b])  # exact where decimals are not
        if groups[a] == groups[b] and right[a] and not right[b] and tenths >= 10 * d_min:
            expected[[a, b]] = True
    assert np.array_equal(distinct(fine, right, groups, d_min), expected)


def test_advantages_are_taken_again_among_the_survivors():
    rollouts = drawn(3)
    rule = DaGRPO(fine="f")
    kept = rule.admits(rollouts)
    assert 0 < kept.sum() < len(kept)
    ruled = advantages(rule, rollouts)
    expected = flat_advantages(rollouts.rewards[kept], rollouts.groups[kept])
    expected = expected * (rollouts.groups[kept] + 1)
    assert ruled.advantages[kept] == pytest.approx(expected)
    assert not ruled.advantages[~kept].any()
    assert ruled.metrics["rollouts_masked"] == pytest.approx((~kept).mean())
    for number in range(len(SIZES)):
        assert abs(ruled.advantages[rollouts.groups == number].sum()) < 1e-12


def test_right_or_wrong_alone_masks_nothing_that_has_an_advantage():
    rollouts = drawn(4, fine=False)
    plain = flat_advantages(rollouts.rewards, rollouts.groups) * (rollouts.groups + 1)
    assert advantages(DaGRPO(), rollouts).advantages == pytest.approx(plain)


def test_a_reward_that_float32_puts_just_above_1_is_a_fine_score():
    rollouts = Rollouts(np.array([1.0000001192092896, 0.0]), np.array([0, 0]), ("p",))
    assert DaGRPO().admits(rollouts).tolist() == [True, True]


@pytest.mark.parametrize("stats", ["on_policy", "all"])
def test_an_anchor_stands_in_where_nothing_is_right(stats):
    rollouts = drawn(5, fine=False)
    rewards = np.where(np.isin(rollouts.groups, [0, 2]), 0.0, rollouts.rewards)
    rewards[np.flatnonzero(rollouts.groups == 1)[:1]] = 1.0
    rollouts = Rollouts(rewards, rollouts.groups, rollouts.prompt_ids)
    rule = DaGRPO(anchors="solution", anchor_stats=stats)
    joined = rule.with_anchors(rollouts, np.array([True, True, False, True]))
    anchored = np.flatnonzero(joined.columns[ANCHOR])
    expected = [
        np.flatnonzero(rollouts.groups == number).max()
        for number in (0, 3)
        if not (rewards[rollouts.groups == number] > 0.5).any()
    ]
    assert sorted(anchored) == sorted(expected)
    assert rollouts.rewards is rewards
    assert not rewards[anchored].any()
    result = advantages(rule, joined).advantages
    mine = rollouts.groups == 0
    others = mine & (joined.columns[ANCHOR] == 0)
    if stats == "on_policy":
        assert result[mine & ~others].tolist() == [1.0]
        assert result[others].tolist() == [0.0] * int(others.sum())
    else:
        assert result[mine] == pytest.approx(
            flat_advantages(joined.rewards[mine], rollouts.groups[mine])
        )
    assert not result[rollouts.groups == 2].any()
    live = rollouts.groups == 1
    plain = flat_advantages(rewards, rollouts.groups)[live]
    assert result[live] == pytest.approx(plain * 2)


def test_the_shaped_ratio_is_the_formula_and_stays_finite():
    logp = torch.tensor([-1e4, -5.0, math.log(0.1), 0.0], dtype=torch.float64, requires_grad=True)
    p = torch.exp(logp)
    assert torch.allclose(shaped_ratio(logp), p / (p + 0.1))
    (gradient,) = torch.autograd.grad(shaped_ratio(logp).sum(), logp)
    assert torch.allclose(gradient, (0.1 * p / (p + 0.1) ** 2).detach())
    assert gradient.argmax() == 2  # strongest at pi = .1


def test_without_d_min_nothing_is_masked():
    rollouts = drawn(4, fine=False)
    assert DaGRPO(d_min=None).admits(rollouts).all()
    graded = Rollouts(np.array([0.1, 0.3, 0.2, 1.0]), np.array([0, 0, 0, 1]), ("p", "q"))
    assert not DaGRPO(d_min=0.0).admits(graded).any()
    assert DaGRPO(d_min=None).admits(graded).all()


def test_likelihood_is_the_control_of_the_shape():
    logp = torch.tensor([-3.0, -0.1], dtype=torch.float64)
    assert torch.equal(DaGRPO(anchor_loss="likelihood").gain(logp), logp)
    assert torch.equal(DaGRPO().gain(logp), shaped_ratio(logp))
    with pytest.raises(OptionError, match="choose shaped or likelihood"):
        DaGRPO(anchor_loss="sft")


def test_bad_input_names_the_prompt():
    rollouts = drawn(6)
    for bad in (1.5, -0.1, math.nan):
        rollouts.columns[FINE][2] = bad
        name = rollouts.prompt_ids[rollouts.groups[2]]
        with pytest.raises(ObjectiveError, match=f"prompt '{name}'.*'partial' must answer"):
            DaGRPO(fine="partial").admits(rollouts)
    negative = Rollouts(np.array([-1.0, 1.0]), np.array([0, 0]), ("p",))
    with pytest.raises(ObjectiveError, match="the reward stands for it"):
        DaGRPO().admits(negative)
    for tokens in (0, 9):
        with pytest.raises(ObjectiveError, match=f"prompt 'p' has {tokens} tokens"):
            check_anchor(tokens, 8, "p")
    check_anchor(8, 8, "p")
    for options in ({"d_min": 1.1}, {"anchor_stats": "both"}, {"threshold": math.nan}):
        with pytest.raises(OptionError):
            DaGRPO(**options)
