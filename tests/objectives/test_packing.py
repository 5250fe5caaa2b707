"""Batches of like length: every sequence once, and no better batches than those found."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.core.errors import OptionError
from gdro.objectives.packing import fill_ratio, like_length

LENGTHS = st.lists(st.integers(0, 50), min_size=1, max_size=80)


def padded(lengths, bins):
    return sum(len(places) * max(lengths[place] for place in places) for places in bins)


@given(lengths=LENGTHS, data=st.data())
@settings(max_examples=100)
def test_every_sequence_lies_in_one_bin(lengths, data):
    batches = data.draw(st.integers(1, len(lengths)))
    bins = like_length(lengths, batches)
    assert sorted(itertools.chain(*bins)) == list(range(len(lengths)))
    assert all(bins)
    assert len(bins) == batches
    assert 0.0 <= fill_ratio(lengths, bins) <= 1.0


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


def test_fill_ratio_of_sorted_batches_beats_the_order_of_arrival():
    lengths = np.random.default_rng(0).lognormal(4.5, 0.7, 64).astype(int)
    arrival = [list(range(start, start + 8)) for start in range(0, 64, 8)]
    assert fill_ratio(lengths, like_length(lengths, 8)) > 0.85 > fill_ratio(lengths, arrival) + 0.2


def test_bad_input_is_named():
    for bad in (lambda: like_length([1, 2], 3), lambda: like_length([1, 2], 0)):
        with pytest.raises(OptionError, match="batches"):
            bad()
    with pytest.raises(OptionError, match="whole numbers"):
        like_length([-1], 1)
