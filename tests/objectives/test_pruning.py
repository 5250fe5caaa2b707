"""Pruning by chance: exact chances, exact sizes, the full gradient on average; where bias is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_policy import Batch

from gdro.core.advantages import flat_advantages
from gdro.core.errors import OptionError, PromptIdError, RewardError
from gdro.core.hashing import prompt_key
from gdro.core.pruning import (
    _systematic,
    draw,
    keep_probabilities,
    proportional_probabilities,
    smoothed_score,
)
from gdro.objectives.pruning import CPPO, DPPO, PPS
from gdro.objectives.rules import Rollouts

SIZES = [8, 6, 10, 4, 8]
DRAWS = 600


def keys(count):
    return np.array([prompt_key(f"item-{number}") for number in range(count)], dtype=np.uint64)


def rollouts(batch, **where):
    return Rollouts(batch.reward.numpy(), batch.group.numpy(), tuple(batch.names), **where)


def row_gradients(batch):
    """(R, D) gradient of each rollout's mean log-probability."""
    each = []
    for row in range(len(batch.group)):
        mean = (batch.logp([row]) * batch.mask[[row]]).sum() / batch.mask[row].sum()
        each.append(batch.gradient(mean).flatten().numpy())
    return np.stack(each)


# --- chances --------------------------------------------------------------------------------------


def test_chances_below_the_mean_are_pruned_and_unseen_never():
    score = np.array([0.0, 0.1, 1.0, np.nan, 0.5])
    assert keep_probabilities(score, 0.4) == pytest.approx([0.6, 0.6, 1.0, 1.0, 1.0])
    assert keep_probabilities(np.full(5, 0.3), 0.9).tolist() == [1.0] * 5
    assert keep_probabilities(np.full(2, np.nan), 0.9).tolist() == [1.0] * 2
    assert smoothed_score(np.array([np.nan, 1.0]), np.array([0.2, 0.0])).tolist() == [0.2, 0.5]


def scaled_to(size, chances):
    """min(1, c p_i) with the one c for which they sum to `size`."""
    low, high = 0.0, size / chances.min()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if np.minimum(1.0, middle * chances).sum() < size else (low, middle)
        )
    return np.minimum(1.0, high * chances)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), data=st.data())
@settings(max_examples=40)
def test_chances_that_sum_to_a_whole_number_keep_exactly_as_many(seed, count, data):
    size = data.draw(st.integers(1, count))
    keep = scaled_to(size, np.random.default_rng(seed).uniform(0.1, 1.0, count))
    assert keep.sum() == pytest.approx(size)
    for step in range(3):
        assert draw(keep, keys(count), seed % 1000, step).sum() == size


def test_systematic_chances_are_exact():
    chances = np.array([3, 40, 17, 64, 20, 9, 63, 8]) / 64
    picked = np.stack([_systematic(chances, keys(8), start / 64) for start in range(64)])
    assert picked.mean(0).tolist() == chances.tolist()
    total = chances.sum()
    assert set(picked.sum(1).tolist()) <= {int(np.floor(total)), int(np.ceil(total))}


@pytest.mark.parametrize("design", ["systematic", "bernoulli"])
def test_frequencies_over_steps_are_the_chances(design):
    chances = np.random.default_rng(0).uniform(0.1, 1.0, 30)
    chances[:5] = 1.0
    draws = np.stack([draw(chances, keys(30), 7, step, design) for step in range(1500)])
    error = np.abs(draws.mean(0) - chances) / np.sqrt(chances * (1 - chances) / 1500 + 1e-12)
    assert error.max() < 4.5
    assert draws[:, :5].all()
    if design == "systematic":
        assert np.ptp(draws.sum(1)) <= 1


@pytest.mark.parametrize("design", ["systematic", "bernoulli", "deterministic"])
def test_the_draw_depends_on_seed_step_and_key_alone(design):
    chances = np.random.default_rng(1).uniform(0.1, 1.0, 20)
    order = np.random.default_rng(2).permutation(20)
    own = keys(20)
    first = draw(chances, own, 3, 4, design, chances)
    assert np.array_equal(
        draw(chances[order], own[order], 3, 4, design, chances[order]), first[order]
    )
    if design != "deterministic":
        others = [draw(chances, own, seed, step, design) for seed, step in ((3, 5), (4, 4))]
        assert all(not np.array_equal(first, other) for other in others)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 30), prune=st.floats(0.0, 0.9))
@settings(max_examples=60)
def test_no_chances_of_the_same_sum_add_less_noise_than_those_proportional_to_size(
    seed, count, prune
):
    random = np.random.default_rng(seed)
    score = random.exponential(size=count) ** 2 + 1e-3

    def noise(chances):
        return (score**2 * (1.0 / chances - 1.0)).sum()

    keep = proportional_probabilities(score, prune)
    assert keep.sum() == pytest.approx((1.0 - prune) * count, rel=1e-6)
    assert keep == pytest.approx(scaled_to((1.0 - prune) * count, score), abs=1e-6)
    for _ in range(20):  # a little from one to another leaves the sum as it is
        gives, takes = random.integers(count, size=2)
        moved = keep.copy()
        step = min(keep[gives] * 0.2, 1.0 - keep[takes])
        moved[gives] -= step
        moved[takes] += step
        assert noise(keep) <= noise(moved) * (1.0 + 1e-6) + 1e-9


@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), power=st.floats(0.0, 6.0))
@settings(max_examples=60)
def test_without_a_share_inequality_says_how_many_stay_and_noise_is_bounded(seed, count, power):
    score = np.random.default_rng(seed).uniform(0.05, 1.0, count) ** power
    score[: count // 4] = 0.0
    keep = proportional_probabilities(score)
    assert (keep[score == 0.0] == 0.0).all()
    live = score > 0.0
    assert keep.sum() <= score.sum() ** 2 / np.square(score).sum() * (1.0 + 1e-9)
    assert (score[live] ** 2 * (1.0 / keep[live] - 1.0)).sum() <= np.square(score).sum() * 1.001
    kept = score[live] / keep[live]  # what a kept item counts
    tau = np.square(score).sum() / score.sum()
    assert kept == pytest.approx(np.maximum(score[live], tau), rel=1e-4)


def test_equal_sizes_all_stay_and_extreme_ones_do_no_harm():
    assert proportional_probabilities(np.full(7, 0.3)).tolist() == [1.0] * 7
    assert proportional_probabilities(np.zeros(3)).tolist() == [0.0] * 3
    assert proportional_probabilities(np.array([1e200, 1e-200]))[0] == 1.0
    assert 0.0 < proportional_probabilities(np.array([1e200, 1e-200]))[1] < 1e-9
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(OptionError):
            proportional_probabilities(np.array([0.5, bad]))


# --- gradients ------------------------------------------------------------------------------------


def test_unbiased_designs_have_the_full_gradient_and_the_deterministic_one_has_not():
    batch = Batch(SIZES, seed=3)
    advantages = flat_advantages(batch.reward.numpy(), batch.group.numpy())
    rows = row_gradients(batch)
    full = advantages @ rows
    spread = {}
    rules = {
        (design, prune): DPPO(prune=prune, design=design)
        for design, prune in itertools.product(("systematic", "bernoulli"), (0.5, 0.7))
    }
    rules |= {("pps", prune): PPS(prune=prune) for prune in (None, 0.5, 0.7)}
    rules |= {("pps of prompts", prune): PPS(prune=prune, unit="prompt") for prune in (None, 0.5)}
    for (design, prune), rule in rules.items():
        draws = np.stack(
            [rule.weigh(advantages, rollouts(batch, step=step)).advantages for step in range(DRAWS)]
        )
        gradients = draws @ rows
        error = gradients.std(0) / np.sqrt(len(draws))
        moving = error > 1e-12
        z = (gradients.mean(0) - full)[moving] / error[moving]
        assert np.sqrt((z**2).mean()) < 1.5, (design, prune)
        assert np.allclose(gradients.mean(0)[~moving], full[~moving])
        spread[design, prune] = gradients.var(0).sum()
        if design in ("systematic", "pps"):
            assert np.ptp((draws != 0.0).sum(1)) <= 1
    for design in ("systematic", "bernoulli", "pps"):
        by_rate = [spread[design, prune] for prune in (0.5, 0.7)]
        assert by_rate == sorted(by_rate)
    fixed = DPPO(prune=0.5, design="deterministic")
    draws = np.stack(
        [fixed.weigh(advantages, rollouts(batch, step=s)).advantages for s in range(50)]
    )
    bias = np.linalg.norm((draws @ rows).mean(0) - full) / np.linalg.norm(full)
    noise = np.sqrt(spread["systematic", 0.5] / DRAWS) / np.linalg.norm(full)
    assert bias > 0.1 > 3 * noise


def test_every_prompt_level_design_of_fixed_size_estimates_the_mean_of_the_pool():
    random = np.random.default_rng(4)
    score, value = random.random(24), random.normal(size=24)
    keep = scaled_to(12, keep_probabilities(score, 0.5))
    weight = 12 / (24 * keep)
    means = [(weight * value)[draw(keep, keys(24), 0, step)].mean() for step in range(2000)]
    error = np.std(means) / np.sqrt(len(means))
    assert np.mean(means) == pytest.approx(value.mean(), abs=4 * error)


def test_pps_of_prompts_keeps_or_leaves_out_all_of_a_prompts_rollouts():
    batch = Batch(SIZES, seed=4)
    advantages = flat_advantages(batch.reward.numpy(), batch.group.numpy(), "rloo")
    advantages[batch.group.numpy() == 1] *= 0.1
    groups = batch.group.numpy()
    size = np.sqrt(np.bincount(groups, advantages**2))
    tau = (size**2).sum() / size.sum()
    for step in range(20):
        ruled = PPS(unit="prompt").weigh(advantages, rollouts(batch, step=step)).advantages
        for number in range(len(SIZES)):
            mine = groups == number
            factor = max(tau / size[number], 1.0)
            whole = np.allclose(ruled[mine], advantages[mine] * factor, rtol=1e-4)
            assert whole or not ruled[mine].any()


def test_dropping_rollouts_without_advantage_is_the_case_of_no_pruning():
    batch = Batch(SIZES, seed=5)
    batch.reward[batch.group == 2] = 1.0
    advantages = flat_advantages(batch.reward.numpy(), batch.group.numpy())
    ruled = DPPO(prune=0.0).weigh(advantages, rollouts(batch))
    assert np.array_equal(ruled.advantages, advantages)
    assert ruled.metrics["rollouts_pruned"] == 0.0
    assert ruled.metrics["rollouts_trained"] == (advantages != 0).mean()
    dead = DPPO(prune=0.9).weigh(np.zeros(len(advantages)), rollouts(batch))
    assert not dead.advantages.any()


def test_pruning_ends_before_the_run_does():
    batch = Batch(SIZES, seed=6)
    advantages = flat_advantages(batch.reward.numpy(), batch.group.numpy())
    rule = DPPO(prune=0.7)
    before = rule.weigh(advantages, rollouts(batch, progress=0.874))
    after = rule.weigh(advantages, rollouts(batch, progress=0.876))
    assert before.metrics["rollouts_pruned"] > 0.1
    assert np.array_equal(after.advantages, advantages)


def test_a_prompt_keeps_its_draw_wherever_it_lies_in_the_batch():
    batch = Batch(SIZES, seed=7)
    advantages = flat_advantages(batch.reward.numpy(), batch.group.numpy())
    one = DPPO().weigh(advantages, rollouts(batch, seed=2, step=9)).advantages
    order = np.argsort(np.random.default_rng(0).permutation(len(SIZES))[batch.group], kind="stable")
    moved = Rollouts(
        batch.reward.numpy()[order], batch.group.numpy()[order], tuple(batch.names), 2, 9
    )
    assert np.array_equal(DPPO().weigh(advantages[order], moved).advantages, one[order])


def test_cppo_keeps_the_largest_of_each_prompt():
    batch = Batch(SIZES, seed=8, binary=False)
    advantages = flat_advantages(batch.reward.numpy(), batch.group.numpy())
    ruled = CPPO(prune=0.5).weigh(advantages, rollouts(batch)).advantages
    for number, size in enumerate(SIZES):
        mine = batch.group.numpy() == number
        kept = np.abs(ruled[mine])[ruled[mine] != 0]
        top = np.sort(np.abs(advantages[mine]))[::-1][: size - size // 2]
        assert np.sort(kept)[::-1] == pytest.approx(top[top > 0])
    assert set(ruled[ruled != 0]) <= set(advantages)


def test_bad_options_and_rollouts_are_named():
    for options in ({"prune": 0.95}, {"prune": -0.1}, {"design": "coin"}, {"unpruned_share": 2.0}):
        with pytest.raises(OptionError):
            DPPO(**options)
    with pytest.raises(OptionError):
        CPPO(prune=1.0)
    for options in ({"prune": 1.0}, {"unit": "token"}):
        with pytest.raises(OptionError):
            PPS(**options)
    with pytest.raises(OptionError):
        keep_probabilities(np.array([-1.0]), 0.5)
    with pytest.raises(OptionError):
        draw(np.array([0.0]), keys(1), 0, 0)
    ones = np.ones(2)
    with pytest.raises(RewardError, match="'b'"):
        Rollouts(np.array([0.0, np.nan]), np.array([0, 1]), ("a", "b"))
    with pytest.raises(PromptIdError):
        Rollouts(ones, np.array([0, 0]), ("a", "a"))
    with pytest.raises(PromptIdError):
        Rollouts(ones, np.array([0, 2]), ("a", "b"))
    with pytest.raises(OptionError):
        Rollouts(ones, np.array([0, 1]), ("a", "b"), progress=1.5)
