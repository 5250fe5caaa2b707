"""Group advantages against naive loops: ragged groups, any order of rows, groups of one, clipping,
errors."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.core.advantages import ADVANTAGES, flat_advantages, group_advantages
from gdro.core.errors import OptionError, RewardError
from gdro.core.types import Feedback

GROUPS = st.lists(
    st.lists(
        st.one_of(st.floats(-10, 10), st.sampled_from([0.0, 1.0, -1.0])), min_size=1, max_size=8
    ),
    min_size=1,
    max_size=8,
)


def naive(group: list[float], kind: str, epsilon: float, ddof: int) -> list[float]:
    """The definitions, one rollout at a time."""
    n, result = len(group), []
    for j, reward in enumerate(group):
        if n == 1 or len(set(group)) == 1:
            result.append(0.0)
        elif kind == "grpo":
            spread = statistics.pstdev(group) if ddof == 0 else statistics.stdev(group)
            result.append((reward - statistics.fmean(group)) / (spread + epsilon))
        elif kind == "dr_grpo":
            result.append(reward - statistics.fmean(group))
        else:
            result.append(reward - statistics.fmean(group[:j] + group[j + 1 :]))
    return result


@pytest.mark.parametrize("kind", ADVANTAGES)
@settings(max_examples=100)
@given(GROUPS, st.sampled_from([0, 1]), st.sampled_from([1e-4, 1e-6, 0.1]))
def test_against_naive_loops(kind, groups, ddof, epsilon):
    found = group_advantages(groups, kind, epsilon=epsilon, ddof=ddof)
    for group, advantages in zip(groups, found, strict=True):
        np.testing.assert_allclose(
            advantages, naive(group, kind, epsilon, ddof), rtol=1e-7, atol=1e-9
        )


@pytest.mark.parametrize("kind", ADVANTAGES)
@settings(max_examples=100)
@given(GROUPS)
def test_oracle_2_advantages_of_a_group_sum_to_zero(kind, groups):
    for advantages in group_advantages(groups, kind):
        assert abs(advantages.sum()) <= 1e-11 * max(1.0, np.abs(advantages).sum())


@pytest.mark.parametrize("kind", ADVANTAGES)
@settings(max_examples=60)
@given(GROUPS, st.randoms(use_true_random=False))
def test_rows_in_any_order_give_what_groups_give(kind, groups, random):
    rows = [
        (f"p{i}", reward, (i, j))
        for i, group in enumerate(groups)
        for j, reward in enumerate(group)
    ]
    random.shuffle(rows)
    flat = flat_advantages([r for _, r, _ in rows], [i for i, _, _ in rows], kind)
    grouped = group_advantages(groups, kind)
    for value, (_, _, (i, j)) in zip(flat, rows, strict=True):
        assert value == pytest.approx(grouped[i][j], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", ADVANTAGES)
def test_a_group_with_nothing_to_compare_has_advantage_zero(kind):
    found = group_advantages([[0.3], [0.1, 0.1, 0.1], [1, 0]], kind, epsilon=0.0)
    assert found[0].tolist() == [0.0]
    assert found[1].tolist() == [0.0, 0.0, 0.0]
    assert found[2][0] == -found[2][1] > 0


def test_clip_and_extremes():
    steep = [[1.0] + [0.0] * 99]
    assert group_advantages(steep)[0][0] > 9.0
    assert group_advantages(steep, clip=5.0)[0][0] == 5.0
    for kind in ADVANTAGES:
        assert np.isfinite(
            np.concatenate(
                group_advantages([[1e308, -1e308, 0.0], [5e-324, 0.0]], kind, epsilon=0.0)
            )
        ).all()


@settings(max_examples=60)
@given(GROUPS, st.booleans(), st.sampled_from([None, 0.5]), st.integers(0, 2**32))
def test_feedback_gives_what_to_train_on(groups, own_baselines, clip, seed):
    """(r - baseline) / deviation where the controller sets them, GRPO's where not; clipped, then
    times the weight."""
    weights, baselines, deviations = np.random.default_rng(seed).uniform(0.1, 3.0, (3, len(groups)))
    terms = {"baselines": baselines, "deviations": deviations} if own_baselines else {}
    ids = tuple(f"p{i}" for i in range(len(groups)))
    feedback = Feedback(ids, weights, np.zeros(len(groups), np.int64), **terms)
    found = group_advantages(groups, clip=clip, feedback=feedback)
    for i, (group, advantages) in enumerate(zip(groups, found, strict=True)):
        plain = (
            (np.array(group) - baselines[i]) / deviations[i]
            if own_baselines
            else group_advantages([group])[0]
        )
        plain = plain if clip is None else np.clip(plain, -clip, clip)
        np.testing.assert_allclose(advantages, plain * weights[i], rtol=1e-12, atol=0.0)
    places = np.random.default_rng(seed).permutation(
        np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    )
    rows = np.concatenate(groups)
    own = feedback.own_advantages(rows, places)
    if own_baselines:
        assert own.tolist() == [
            (r - baselines[i]) / deviations[i] for r, i in zip(rows, places, strict=True)
        ]
    else:
        assert own is None


def test_rewards_that_do_not_fit_the_feedback_are_named():
    feedback = Feedback(("a/1", "a/2"), np.ones(2), np.zeros(2, np.int64))
    with pytest.raises(RewardError, match="1 prompts for 2 prompt ids"):
        group_advantages([[1.0]], feedback=feedback)
    with pytest.raises(RewardError, match="prompt 'a/2'"):
        group_advantages([[1.0], [math.nan]], feedback=feedback)


def test_ids_as_a_tensor_are_the_numbers_in_it():
    class Tensor(list):  # as torch's: its elements are objects of their own
        def __iter__(self):
            return iter([object() for _ in range(len(self))])

        def tolist(self):
            return [self[place] for place in range(len(self))]

    rewards = [1.0, 0.0, 1.0, 0.0]
    expected = flat_advantages(rewards, np.array([3, 3, 5, 5]))
    np.testing.assert_array_equal(flat_advantages(rewards, Tensor([3, 3, 5, 5])), expected)
    assert expected.any()


def test_integer_groups_and_nothing_at_all():
    np.testing.assert_array_equal(
        flat_advantages([1, 0, 0, 1], [7, 3, 7, 3], "dr_grpo"), [0.5, -0.5, -0.5, 0.5]
    )
    assert group_advantages([]) == []
    assert flat_advantages([], []).size == 0


@pytest.mark.parametrize(
    "rewards",
    [
        [[1.0, math.nan]],
        [[math.inf]],
        [[]],
        [None],
        [[None, 1.0]],
        [[True, False]],
        [[True, 1.0]],
        ["ab"],
        [[[1.0]]],
        None,
        3.0,
        [["1"]],
    ],
)
def test_what_is_no_reward_is_a_reward_error(rewards):
    with pytest.raises(
        (RewardError, TypeError) if rewards is None or rewards == 3.0 else RewardError
    ):
        group_advantages(rewards)


@pytest.mark.parametrize(
    ("rewards", "ids"),
    [
        ([1.0, 2.0], ["a"]),
        ([[1.0]], ["a"]),
        ([True], ["a"]),
        ([math.nan], ["a"]),
        ([], ["a"]),
        (["x"], ["a"]),
    ],
)
def test_bad_rows_are_a_reward_error(rewards, ids):
    with pytest.raises(RewardError):
        flat_advantages(rewards, ids)


@pytest.mark.parametrize(
    "option", [{"kind": "ppo"}, {"clip": 0.0}, {"clip": math.nan}, {"epsilon": -1.0}, {"ddof": 2}]
)
def test_bad_options_are_named(option):
    with pytest.raises(OptionError):
        group_advantages([[1.0, 0.0]], **option)


@pytest.mark.parametrize(
    "ids",
    [
        [1, "1", 1, "1"],
        ["a", "a\0", "a", "a\0"],
        [2**53 + 1, float(2**53), 2**53 + 1, float(2**53)],
        [("a", 1), ("a", 2), ("a", 1), ("a", 2)],
        [None, "None", None, "None"],
        np.array(["a", "b", "a", "b"]),
    ],
)
def test_rows_are_grouped_by_what_python_calls_equal(ids):
    np.testing.assert_array_equal(
        flat_advantages([1.0, 5.0, 3.0, 5.0], ids, "dr_grpo"), [-1.0, 0.0, 1.0, 0.0]
    )
