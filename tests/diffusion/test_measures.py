"""Drift and diversity against brute force."""

import numpy as np
import pytest

from gdro.diffusion.evaluation import diversity, features, kernel_distance


def test_the_kernel_distance_is_its_definition():
    random = np.random.default_rng(0)
    first, second = random.random((5, 3)), random.random((4, 3))
    inside = [
        ((a - b) ** 2).sum() for i, a in enumerate(second) for j, b in enumerate(second) if i != j
    ]
    width = np.median(inside)

    def kernel(a, b):
        return np.exp(-((a - b) ** 2).sum() / width)

    within = [
        np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
        for x in (first, second)
    ]
    across = np.mean([kernel(a, b) for a in first for b in second])
    assert kernel_distance(first, second) == pytest.approx(sum(within) - 2 * across, rel=1e-12)


def test_it_is_unbiased_where_nothing_moved_and_grows_where_something_did():
    random = np.random.default_rng(1)
    same = [
        kernel_distance(random.normal(size=(12, 4)), random.normal(size=(20, 4)))
        for _ in range(300)
    ]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(300)
    moved = [
        kernel_distance(random.normal(size=(50, 4)) + shift, random.normal(size=(50, 4)))
        for shift in (0.0, 0.5, 1.0)
    ]
    assert moved[0] < moved[1] < moved[2]


def test_diversity_is_the_mean_distance_of_pairs():
    values = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    assert diversity(values) == pytest.approx((np.sqrt(2) + np.sqrt(2) + 2) / 3)
    assert diversity(np.ones((4, 3))) == 0.0
    assert np.isnan(diversity(values[:1]))
    assert np.isnan(kernel_distance(values[:1], values))


def test_features_are_cell_means_in_the_unit_range():
    images = np.zeros((2, 64, 64, 3), np.uint8)
    images[1, :, :32] = 255
    found = features(images)
    assert found.shape == (2, 16 * 16 * 3)
    assert found[0].max() == 0.0
    assert found[1].mean() == pytest.approx(0.5)
