"""Diagnostics: hand-computed cases and properties over random records."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gdro.core import diagnostics as d
from gdro.core.errors import OptionError

NAN = float("nan")
SHARES = arrays(
    np.float64,
    st.tuples(st.integers(1, 8), st.integers(1, 12)),
    elements=st.one_of(st.just(NAN), st.just(0.0), st.floats(1e-6, 1e6)),
)


def has_mass(share):
    return np.nan_to_num(share).sum(axis=-1) > 0


def test_mean_bin_by_hand():
    assert d.mean_bin([0.5, 0.3, 0.2]) == pytest.approx(0.3 + 0.4)
    assert d.mean_bin([NAN, 2.0, 2.0]) == pytest.approx(1.5)
    assert np.isnan(d.mean_bin([NAN, 0.0]))


def test_high_mass_by_hand():
    assert d.high_mass([1, 1, 2], 2) == pytest.approx(0.5)
    assert d.high_mass([1, 1, 2], 3) == 0.0
    assert np.isnan(d.high_mass([NAN, NAN], 1))
    with pytest.raises(OptionError, match=r"0\.\.3"):
        d.high_mass([1, 1, 2], 4)


def test_effective_bins_by_hand():
    assert d.effective_bins([1, 1, 1, 1]) == pytest.approx(4)
    assert d.effective_bins([0, 3, 0]) == 1.0
    assert d.entropy([0.5, 0.25, 0.25]) == pytest.approx(1.5 * np.log(2))


def test_lead_lag_by_hand():
    # shares (.5, .3, .2), weights (4, 1, 1): q = (2, .3, .2) / 2.5, so .28 - .7
    assert d.lead_lag([0.5, 0.3, 0.2], [4, 1, 1]) == pytest.approx(0.28 - 0.7)
    assert d.lead_lag([0.5, 0.5, 0.0], [1, 3, NAN]) == pytest.approx(0.75 - 0.5)


def test_budget_share_by_hand():
    np.testing.assert_allclose(d.budget_share([0.5, 0.5, NAN], [2, 6, NAN]), [0.25, 0.75, 0])


def test_wse_by_hand():
    # (33): .5 * sqrt(.04/4) + .5 * sqrt(.25/4)
    assert d.weighted_standard_error([0.5, 0.5], [0.04, 0.25], [4, 4]) == pytest.approx(
        0.05 + 0.125
    )
    assert d.weighted_standard_error([1, 0], [0.04, NAN], [4, NAN]) == pytest.approx(0.1)
    assert np.isnan(d.weighted_standard_error([0.5, 0.5], [NAN, 0.25], [4, 4]))


def test_snapshots():
    values = np.arange(8.0).reshape(8, 1)
    got = d.snapshots(values, span=2)
    assert [(s.name, s.first, s.last, s.values[0]) for s in got] == [
        ("start", 0, 1, 0.5),
        ("early", 1, 2, 1.5),
        ("mid", 3, 4, 3.5),
        ("late", 6, 7, 6.5),
    ]
    assert d.snapshots(np.empty((0, 3))) == ()
    assert d.snapshots([[1.0]], span=10)[-1].last == 0
    with pytest.raises(OptionError):
        d.snapshots([1.0])


def test_nan_mean():
    np.testing.assert_allclose(d.nan_mean([[1, NAN, NAN], [3, 5, NAN]]), [2, 5, NAN])


def test_by_checkpoint():
    events = [
        {"step": 0, "pass_at_k": {"value": 0.5, "low": 0.4, "high": 0.6}},
        {"step": 40, "pass_at_k": {"value": None, "low": None, "high": None}},
        {"step": 80},
    ]
    steps, values = d.by_checkpoint(events, "pass_at_k")
    assert steps.tolist() == [0, 40, 80]
    np.testing.assert_allclose(values, [[0.5, 0.4, 0.6], [NAN] * 3, [NAN] * 3])
    assert d.by_checkpoint([], "pass_at_k")[1].shape == (0, 3)


def test_the_weakest_group():
    groups = {
        "a": {"mean_at_k": {"value": 0.4, "low": 0.3, "high": 0.5}},
        "b": {"mean_at_k": {"value": 0.1, "low": 0.0, "high": 0.2}},
        "c": {"mean_at_k": {"value": None}},
    }
    assert d.weakest_group(groups) == ("b", (0.1, 0.0, 0.2))
    assert d.weakest_group({"c": groups["c"]}) is None


def test_bad_input_is_named():
    with pytest.raises(OptionError, match="negative"):
        d.mean_bin([-1.0, 2.0])
    with pytest.raises(OptionError, match="one shape"):
        d.lead_lag([1.0, 1.0], [1.0])
    with pytest.raises(OptionError, match="at least one bin"):
        d.entropy([])
    with pytest.raises(OptionError, match="above 0"):
        d.weighted_standard_error([1.0], [1.0], [0.0])


@settings(max_examples=60)
@given(SHARES)
def test_ranges(share):
    bins, known = share.shape[1], has_mass(share)
    for value, low, high in [
        (d.mean_bin(share), 0, bins - 1),
        (d.high_mass(share, bins // 2), 0, 1),
        (d.effective_bins(share), 1, bins),
    ]:
        assert np.isnan(value[~known]).all()
        assert (value[known] >= low - 1e-9).all()
        assert (value[known] <= high + 1e-9).all()


@settings(max_examples=60)
@given(SHARES, st.floats(1e-3, 1e3))
def test_scale_does_not_matter_and_a_step_alone_reads_the_same(share, factor):
    np.testing.assert_allclose(d.mean_bin(share * factor), d.mean_bin(share), rtol=1e-9, atol=1e-9)
    for row, value in zip(share, d.effective_bins(share), strict=True):
        np.testing.assert_allclose(d.effective_bins(row), value)


@settings(max_examples=60)
@given(SHARES)
def test_reversing_the_bins_mirrors_the_mean(share):
    np.testing.assert_allclose(
        d.mean_bin(share[:, ::-1]), share.shape[1] - 1 - d.mean_bin(share), atol=1e-9
    )


@settings(max_examples=60)
@given(SHARES, st.floats(0.1, 10))
def test_equal_weights_neither_lead_nor_lag(share, weight):
    gap = d.lead_lag(share, np.full_like(share, weight))
    np.testing.assert_allclose(gap[has_mass(share)], 0, atol=1e-9)


@settings(max_examples=60)
@given(SHARES)
def test_weight_falling_with_the_bin_lags(share):
    gap = d.lead_lag(share, np.broadcast_to(np.exp(-np.arange(share.shape[1])), share.shape))
    assert (gap[has_mass(share)] <= 1e-9).all()


@settings(max_examples=60)
@given(st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_wse_is_least_at_the_two_thirds_power(bins, seed):
    """With sum_b share_b n_b fixed, (33) is smallest at n_b ~ sigma_b^(2/3): no other plan beats
    it."""
    rng = np.random.default_rng(seed)
    share, variance = rng.dirichlet(np.ones(bins)), rng.uniform(0.01, 0.25, bins)
    best, other = variance ** (1 / 3), rng.uniform(1, 12, bins)
    best, other = (4 * n / (share @ n) for n in (best, other))
    least = d.weighted_standard_error(share, variance, best)
    assert least <= d.weighted_standard_error(share, variance, other) + 1e-9
    assert least <= d.weighted_standard_error(share, variance, 4) + 1e-9
