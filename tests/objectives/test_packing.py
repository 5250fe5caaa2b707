"""Packing: every sequence once, capacities kept, no better batches of like length than found."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.core.errors import OptionError
from gdro.objectives.packing import fill_ratio, first_come, like_length, windows

LENGTHS = st.lists(st.integers(0, 50), min_size=1, max_size=80)


def padded(lengths, bins):
    return sum(len(places) * max(lengths[place] for place in places) for places in bins)


@given(lengths=LENGTHS, window=st.integers(1, 90), extra=st.integers(0, 60), data=st.data())
@settings(max_examples=100)
def test_every_sequence_lies_in_one_bin(lengths, window, extra, data):
    capacity = max(lengths) + extra
    batches = data.draw(st.integers(1, len(lengths)))
    found = {
        "windows": windows(lengths, capacity, window),
        "first_come": first_come(lengths, capacity),
        "like_length": like_length(lengths, batches),
    }
    for name, bins in found.items():
        assert sorted(itertools.chain(*bins)) == list(range(len(lengths))), name
        assert all(bins), name
        if name != "like_length":
            assert all(sum(lengths[place] for place in places) <= capacity for places in bins)
            assert 0.0 <= fill_ratio(lengths, bins, capacity) <= 1.0
    assert len(found["like_length"]) == batches


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), data=st.data())
@settings(max_examples=60)
def test_like_length_is_the_best_of_all_partitions(lengths, data):
    batches = data.draw(st.integers(1, len(lengths)))
    best = min(
        padded(lengths, bins)
        for labels in itertools.product(range(batches), repeat=len(lengths))
        if len(set(labels)) == batches
        for bins in [[[p for p, own in enumerate(labels) if own == b] for b in range(batches)]]
    )
    found = like_length(lengths, batches)
    assert padded(lengths, found) == best
    assert fill_ratio(lengths, found) == sum(lengths) / best


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), extra=st.integers(0, 9))
@settings(max_examples=60)
def test_first_fit_decreasing_needs_few_rows_more_than_the_fewest(lengths, extra):
    capacity = max(lengths) + extra
    fewest = min(
        len(set(labels))
        for labels in itertools.product(range(len(lengths)), repeat=len(lengths))
        if np.bincount(labels, lengths).max() <= capacity
    )
    assert len(windows(lengths, capacity)) <= 11 / 9 * fewest + 6 / 9


def test_a_window_keeps_what_is_far_apart_apart():
    bins = windows([3] * 10, 6, window=4)
    assert all(max(places) // 4 == min(places) // 4 for places in bins)
    assert len(bins) == 5


def test_fill_ratio_of_sorted_batches_beats_the_order_of_arrival():
    lengths = np.random.default_rng(0).lognormal(4.5, 0.7, 64).astype(int)
    arrival = [list(range(start, start + 8)) for start in range(0, 64, 8)]
    assert fill_ratio(lengths, like_length(lengths, 8)) > 0.85 > fill_ratio(lengths, arrival) + 0.2


def test_bad_input_is_named():
    with pytest.raises(OptionError, match="sequence 1 has 9 tokens"):
        windows([1, 9], 8)
    with pytest.raises(OptionError, match="sequence 1 has 9 tokens"):
        first_come([1, 9], 8)
    for bad in (lambda: like_length([1, 2], 3), lambda: like_length([1, 2], 0)):
        with pytest.raises(OptionError, match="batches"):
            bad()
    with pytest.raises(OptionError, match="window"):
        windows([1], 8, 0)
    with pytest.raises(OptionError, match="whole numbers"):
        like_length([-1], 1)
