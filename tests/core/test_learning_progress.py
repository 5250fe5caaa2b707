"""Learning progress against the weighted regression that it stands for; what it finds; its
state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.core.errors import OptionError, StateError
from gdro.core.learning_progress import KEEP, LEAST, SPREAD, LearningProgress

ONE = np.array([0])
UNIT = st.floats(0.0, 1.0)
VISIT = st.tuples(st.integers(0, 2), st.booleans(), UNIT, UNIT)


def visit(progress: LearningProgress, visits: list[tuple[int, bool, float, float]]) -> None:
    places, first, live, rate = (np.array(column) for column in zip(*visits, strict=True))
    progress.learn(places, first, live, rate)


def regression(steps: list[list[tuple[int, bool, float, float]]], place: int, pace: float) -> float:
    """The posterior mean of the slope over pace: weighted least squares by lstsq, the prior as one
    row more."""
    x, points = 0.0, []
    for step in steps:
        mine = [entry for entry in step if entry[0] == place]
        points += [(x, rate) for _, first, _, rate in mine if first]
        x += sum(live for _, _, live, _ in mine)
    counts = [sum(first for at, first, _, _ in step if at == place) for step in steps]
    after = sum(counts) - np.cumsum(counts)
    root = np.sqrt(KEEP ** np.repeat(after, counts).astype(float))
    rows = [[root[i], root[i] * at] for i, (at, _) in enumerate(points)] + [[0.0, SPREAD / pace]]
    target = [root[i] * rate for i, (_, rate) in enumerate(points)] + [SPREAD]
    return float(np.linalg.lstsq(np.array(rows), np.array(target), rcond=None)[0][1]) / pace


@given(
    st.lists(st.lists(VISIT, min_size=1, max_size=6), min_size=1, max_size=12),
    st.floats(0.001, 1.0),
)
def test_progress_is_the_slope_of_the_weighted_regression(steps, pace):
    progress = LearningProgress(pace)
    for step in steps:
        visit(progress, step)
    expected = [max(regression(steps, place, pace), LEAST) for place in range(3)]
    np.testing.assert_allclose(progress.of(np.arange(3)), expected, rtol=1e-6, atol=1e-6)


def test_before_anything_is_known_progress_is_one():
    progress = LearningProgress(0.001)
    assert progress.of(np.array([-1, 0, 5])).tolist() == [1.0, 1.0, 1.0]
    visit(progress, [(1, False, 0.5, 1.0)])
    assert progress.of(np.array([-1, 0, 1, 5])).tolist() == [1.0, 1.0, 1.0, 1.0], (
        "a prompt that comes again says nothing"
    )


def test_a_source_that_is_learnt_is_told_from_one_that_is_guessed_and_one_that_is_forgotten():
    """One prompt a step of each, live half of the time; the rate rises by .001 a live group,
    stands, falls."""
    progress, rng = LearningProgress(0.0005), np.random.default_rng(0)
    for step in range(800):
        slopes = (0.0005, 0.0, -0.0002)
        rates = [rng.binomial(4, 1.0 / 3.0 + slope * step) / 4.0 for slope in slopes]
        visit(progress, [(place, True, 0.5, rate) for place, rate in enumerate(rates)])
    learnt, guessed, forgotten = progress.of(np.arange(3))
    assert learnt == pytest.approx(2.0, abs=1.0)
    assert guessed < 0.6 * learnt
    assert forgotten == LEAST
    assert progress.standing_still() in (1, 2)


def test_prompts_learnt_by_heart_are_no_progress():
    progress = LearningProgress(0.0005)
    for step in range(400):
        visit(progress, [(0, True, 0.5, 0.25), (0, False, 0.5, step / 400.0)])
    assert progress.of(ONE)[0] < 0.2


def test_a_state_goes_on_and_a_damaged_one_is_refused():
    first, second = LearningProgress(0.01), LearningProgress(0.01)
    visit(first, [(0, True, 0.5, 0.0), (1, True, 0.2, 1.0)])
    second.load_state_dict(first.state_dict())
    for progress in (first, second):
        visit(progress, [(0, True, 0.5, 1.0), (2, True, 0.1, 0.5)])
    np.testing.assert_array_equal(first.sums, second.sums)
    for damaged in ({}, {"sums": np.zeros(4)}, {"sums": np.full(5, np.nan)}, {"sums": "x"}):
        with pytest.raises(StateError, match="sums"):
            second.load_state_dict(damaged)
    np.testing.assert_array_equal(first.sums, second.sums)


@pytest.mark.parametrize("pace", [0.0, -1.0, 1.5, float("nan")])
def test_a_pace_out_of_range_is_named(pace):
    with pytest.raises(OptionError, match="pace="):
        LearningProgress(pace)
