"""The statistics of a comparison: hand cases, symmetry, and how often the interval covers the
truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.lab import stats


def paired_interval(method, baseline=None, groups=None):
    """The method's score, or its difference from the baseline's on the same seeds and prompts."""
    other = None if baseline is None else stats.resampled(baseline, groups)
    return stats.interval(stats.resampled(method, groups), other)


RATES = st.lists(st.integers(0, 8).map(lambda c: c / 8), min_size=1, max_size=60)


def test_without_spread_nothing_is_known_but_that_methods_did_the_same():
    baseline = np.tile([0.0, 0.25, 0.5, 1.0], (3, 1))
    found = paired_interval(baseline + 0.125, baseline), stats.seed_interval([0.125, 0.125])
    for estimate in found:
        assert estimate.value == pytest.approx(0.125, abs=1e-15)
        assert np.isnan([estimate.low, estimate.high, estimate.p]).all()
        assert not estimate.clear
    for estimate in (paired_interval(baseline, baseline), stats.seed_interval([0.0, 0.0])):
        assert (estimate.value, estimate.low, estimate.high, estimate.p) == (0.0, 0.0, 0.0, 1.0)


def test_seeds_alone_give_students_interval():
    """All prompts alike: only seeds vary, so the interval must be the paired t interval."""
    gaps = np.array([0.1, 0.3, 0.2, 0.4, 0.25])
    estimate = paired_interval(np.repeat(gaps[:, None], 40, axis=1), np.zeros((5, 40)))
    half = 2.77645 * gaps.std(ddof=1) / np.sqrt(5)
    assert estimate.value == pytest.approx(gaps.mean())
    assert estimate.high - estimate.value == pytest.approx(half, rel=0.08)
    assert stats.seed_interval(gaps).high == pytest.approx(gaps.mean() + half, rel=1e-6)


def test_one_seed_knows_the_prompts_only():
    gaps = np.random.default_rng(0).normal(0.1, 1.0, (1, 400))
    estimate = paired_interval(gaps, np.zeros((1, 400)))
    assert estimate.high - estimate.value == pytest.approx(1.97 * gaps.std() / 20, rel=0.08)


@pytest.mark.parametrize(
    ("seed_sd", "prompt_sd", "noise"),
    [(0.05, 0.3, 0.3), (0.2, 0.0, 0.3), (0.0, 0.5, 0.1), (0.0, 0.0, 1.0)],
)
def test_the_interval_covers_the_truth(seed_sd, prompt_sd, noise):
    """Of 300 simulated comparisons with 5 seeds, about 95 % must cover the true difference."""
    rng = np.random.default_rng(1)
    covered, widths = 0, []
    for _ in range(300):
        a, b = rng.normal(0, seed_sd, (5, 1)), rng.normal(0, prompt_sd, (1, 50))
        baseline = rng.normal(0.3, 0.2, (5, 50))
        estimate = paired_interval(baseline + 0.1 + a + b + rng.normal(0, noise, (5, 50)), baseline)
        covered += estimate.low <= 0.1 <= estimate.high
        widths.append((estimate.high - estimate.low) / 2)
    truth = np.sqrt(seed_sd**2 / 5 + prompt_sd**2 / 50 + noise**2 / 250)
    assert covered >= 0.92 * 300
    assert np.median(widths) < 3.0 * truth


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_few_seeds_with_noise_in_every_cell_are_covered_too(seeds):
    """Where most of the resampled variances is noise of the cells, which the error leaves out."""
    rng, covered = np.random.default_rng(seeds), 0
    for _ in range(400):
        a, b = rng.normal(0, 0.05, (seeds, 1)), rng.normal(0, 0.05, (1, 200))
        method = 0.1 + a + b + rng.normal(0, 0.25, (seeds, 200))
        estimate = paired_interval(method)
        covered += estimate.low <= 0.1 <= estimate.high
    assert covered >= (0.88 if seeds == 2 else 0.92) * 400


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_the_lowest_group_of_each_resample_is_that_of_its_draws(seed, groups, apart, one):
    """Prompt by prompt, as the definition says; a group that a resample leaves empty does not
    count."""
    rng = np.random.default_rng(seed)
    seeds, prompts, resamples = 3, 5, 1 if one else 4
    scores, weights = rng.random((seeds, prompts)), rng.integers(0, 3, (groups, prompts)) * 0.5
    by_seed = rng.integers(0, 3, (4, seeds)).astype(float)
    by_prompt = rng.integers(0, 3, (resamples, seeds if apart else 1, prompts)).astype(float)
    found = stats.lowest_group(scores, weights, by_seed, by_prompt)
    for r, often in enumerate(by_seed):
        means = []
        for group in weights:
            counts = (
                often[:, None] * np.broadcast_to(by_prompt[r % resamples], (seeds, prompts)) * group
            )
            if counts.sum() > 0:
                means.append((counts * scores).sum() / counts.sum())
        assert found[r] == pytest.approx(min(means)) if means else np.isnan(found[r])


def test_the_worst_bin_covers_too():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.eye(4), 25, axis=1)
    levels = np.repeat([0.1, 0.4, 0.6, 0.8], 25)
    covered = 0
    for _ in range(100):
        baseline = rng.binomial(8, levels, (5, 100)) / 8
        method = rng.binomial(8, np.where(levels == 0.1, 0.2, levels), (5, 100)) / 8
        estimate = paired_interval(method, baseline, groups)
        covered += estimate.low <= 0.1 <= estimate.high
    assert covered >= 90


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_swapping_the_methods_turns_the_interval_round(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.binomial(8, 0.4, (2, 3, 20)) / 8
    there, back = paired_interval(one, other), paired_interval(other, one)
    assert (there.value, there.low, there.high) == pytest.approx(
        (-back.value, -back.high, -back.low), abs=1e-12
    )
    assert there == paired_interval(one, other)


def test_the_worst_group_is_the_lowest_mean():
    scores = np.array([[0.0, 1.0, 0.2, 0.4], [0.0, 0.0, 0.2, 0.4]])
    groups = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    assert paired_interval(scores, None, groups).value == pytest.approx(0.25)


@given(RATES, st.sampled_from([0.1, 0.2, 0.5, 1.0]))
def test_the_hardest_share_has_its_size_and_is_the_hardest(rates, share):
    weights = stats.hardest_share(rates, share)
    assert weights.sum() == pytest.approx(share * len(rates))
    assert ((weights >= 0) & (weights <= 1 + 1e-12)).all()
    chosen = weights @ np.array(rates) / weights.sum()
    whole = np.sort(rates)
    count = int(share * len(rates))
    assert chosen <= whole.mean() + 1e-12
    if count and share * len(rates) == count:
        assert chosen == pytest.approx(whole[:count].mean())


@given(RATES)
def test_bins_are_disjoint_and_never_small(rates):
    numbers, members = stats.base_bins(rates, fewest=3)
    assert numbers == sorted(set(numbers))
    assert (members.sum(axis=0) <= 1).all()
    assert numbers == [-1] or (members.sum(axis=1) >= 3).all()
    for number, row in zip(numbers, members, strict=True):
        if number >= 0:
            inside = np.array(rates)[row > 0]
            assert (inside >= number / 10 - 1e-9).all()
            assert (inside <= (number + 1) / 10 + 1e-9).all()


def test_area_and_reach_by_hand():
    assert stats.area([0, 1, 3], [0.0, 1.0, 1.0]) == pytest.approx(2.5 / 3)
    assert stats.area([0, 2], np.array([[0.0, 1.0], [1.0, 1.0]])).tolist() == [0.5, 1.0]
    assert stats.first_reach([0, 10, 20], [0.1, 0.3, 0.2], 0.2) == pytest.approx(5.0)
    assert stats.first_reach([0, 10], [0.5, 0.6], 0.4) == 0.0
    assert stats.first_reach([0, 10], [0.1, 0.2], 0.3) == np.inf


def test_students_t_is_where_its_p_value_is_5_percent():
    tabled = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 15: 2.131, 24: 2.064, 60: 2.000}
    for degrees, t in tabled.items():
        assert stats.student_975(degrees) == pytest.approx(t, abs=6e-4)
    assert stats.student_975(1e9) == pytest.approx(1.95996, abs=1e-5)
    for degrees in (1.0, 1.4, 1.9, 3.5, 24.3, 9_999.0, 10_001.0):
        assert stats.student_p(stats.student_975(degrees), degrees) == pytest.approx(0.05, abs=1e-9)


def test_what_cannot_be_compared_is_named():
    with pytest.raises(stats.StatisticsError, match="pair the same seeds"):
        paired_interval(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(stats.StatisticsError, match="finite numbers"):
        paired_interval(np.full((2, 3), np.nan))
    with pytest.raises(stats.StatisticsError, match="each with a prompt"):
        paired_interval(np.zeros((2, 3)), None, np.zeros((1, 3)))


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 8, 15, 30, 60, 120, 5000])
def test_the_p_value_of_students_t(degrees):
    """At the tabled quantiles it is 5 %; and it agrees with the density integrated over a fine
    grid."""
    if degrees <= 60:
        assert stats.student_p(stats.student_975(degrees), degrees) == pytest.approx(0.05, abs=2e-4)
    for t in (0.0, 0.3, 1.0, 2.5, 6.0):
        angle = np.linspace(-np.pi / 2, np.pi / 2, 200_001)
        density = np.cos(angle) ** (degrees - 1.0)
        beyond = density[np.abs(np.tan(angle)) * np.sqrt(degrees) >= t].sum() / density.sum()
        assert stats.student_p(t, degrees) == pytest.approx(beyond, rel=1e-2, abs=1e-5)
        assert stats.student_p(-t, degrees) == stats.student_p(t, degrees)


def test_many_degrees_are_the_normal():
    assert stats.student_p(1.959964, 1e9) == pytest.approx(0.05, rel=1e-5)
    assert stats.student_p(1.959964, 9999) == pytest.approx(0.05, rel=1e-2)


def test_the_p_value_goes_with_the_interval():
    gaps = np.random.default_rng(0).normal(0.3, 1.0, (40, 6))
    for row in gaps:
        estimate = stats.seed_interval(row)
        assert estimate.clear == (estimate.p < 0.05)
    assert stats.seed_interval([0.0, 0.0]).p == 1.0
    assert np.isnan(stats.seed_interval([0.2]).p)


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.6, 0.6]) == pytest.approx([1.0, 1.0])
    with_unknown = stats.holm([float("nan"), 0.02])
    assert np.isnan(with_unknown[0])
    assert with_unknown[1] == pytest.approx(0.04)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6))
@settings(max_examples=100)
def test_holm_lies_between_the_p_values_and_bonferronis(p_values):
    adjusted = stats.holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p) + 1e-12
    order = np.argsort(p_values)
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_the_same_resamples_serve_a_method_alone_and_in_every_pair():
    rng = np.random.default_rng(3)
    tables = [rng.random((4, 30)) for _ in range(3)]
    groups = np.array([np.arange(30) < 12, np.arange(30) >= 12], dtype=float)
    drawn = [stats.resampled(one, groups) for one in tables]
    for ours, sampled in zip(tables, drawn, strict=True):
        assert stats.interval(sampled) == paired_interval(ours, None, groups)
        assert stats.interval(sampled, drawn[0]) == paired_interval(ours, tables[0], groups)
    with pytest.raises(stats.StatisticsError, match="pair the same seeds and prompts"):
        stats.interval(drawn[0], stats.resampled(tables[1][:3], groups))
