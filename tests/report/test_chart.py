"""Ticks, numbers and colours."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.report.chart import Chart, extent, short, tick_labels, ticks
from gdro.report.palette import DARK, DARK_SCALE, LIGHT, LIGHT_SCALE, scale
from gdro.report.panels import Blocks

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False)


@given(NUMBERS, st.floats(1e-6, 1e9), st.integers(2, 10))
def test_ticks_are_few_inside_and_rising(low, span, count):
    high = low + span
    if high - low < 1e-9 * max(abs(low), abs(high)):
        return
    values = ticks(low, high, count)
    assert 1 <= len(values) <= count
    assert values == sorted(set(values))
    assert all(low - 1e-6 * span <= value <= high + 1e-6 * span for value in values)
    assert len(tick_labels(values)) == len(values)


def test_ticks_by_hand():
    assert ticks(0, 300, 4) == [0, 100, 200, 300]
    assert tick_labels([0, 0.25, 0.5]) == ["0.00", "0.25", "0.50"]
    assert tick_labels([-0.2, 0]) == ["−0.2", "0.0"]
    assert ticks(1, 1) == [1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.3149, "0.31"),
        (12.44, "12.4"),
        (1024, "1,024"),
        (3.1e-5, "3.1e-5"),
        (-0.5, "−0.50"),
        (math.nan, "–"),
    ],
)
def test_short(value, text):
    assert short(value) == text


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=6))
def test_extent_holds_every_finite_value(values):
    low, high = extent(values)
    assert low < high
    assert all(low <= value <= high for value in values if math.isfinite(value))


def test_a_line_has_gaps_where_values_are_missing():
    chart = Chart((0, 4), (0, 1), "", "")
    chart.line([0, 1, 2, 3, 4], [0, np.nan, 1, 1, np.nan])
    path = chart.parts[-1]
    assert path.count("M") == 2
    assert path.count("L") == 1
    assert path.count("h.1") == 1


def test_missing_cells_stay_blank():
    chart = Chart((0, 2), (-0.5, 1.5), "", "")
    chart.cells([0, 1, 2], np.array([[0.0, np.nan], [1.0, 0.5]]), 0, 1)
    assert sum(part.count("z") for part in chart.parts) == 3


def test_blocks_cover_every_step_once():
    blocks = Blocks.of(np.arange(1, 251), 100)
    assert len(blocks.centres) == 100
    values = np.arange(250.0)
    sizes = np.diff(blocks.starts)
    assert sizes.sum() == 250
    assert (blocks.mean(values) * sizes).sum() == pytest.approx(values.sum())
    assert "up to 3 steps" in blocks.note
    assert Blocks.of(np.array([5])).note == ""


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_words_and_lines_stand_out(theme):
    for ground in ("card", "bg"):
        assert contrast(theme["ink"], theme[ground]) > 7
        assert contrast(theme["muted"], theme[ground]) > 4.5
        assert all(contrast(theme[f"s{i}"], theme[ground]) > 3 for i in range(4))
    assert contrast(theme["ink"], theme["alert"]) > 7


@pytest.mark.parametrize(("anchors", "sign"), [(LIGHT_SCALE, -1), (DARK_SCALE, 1)])
def test_the_scale_reads_without_hue(anchors, sign):
    """Lightness changes one way all along: every kind of colour vision, and grey paper, sees the
    order."""
    values = [luminance(colour) for colour in scale(anchors)]
    assert (np.diff(values) * sign > 0).all()
