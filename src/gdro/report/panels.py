"""The two panels that most figures are made of: bins over time as heat cells, and numbers over time
as lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gdro.core.diagnostics import nan_mean
from gdro.core.types import Floats, Ints
from gdro.report.chart import Chart, extent, short

COLUMNS = 100
"""A long run is drawn as this many columns at most, each the mean of the steps it covers."""


@dataclass(frozen=True)
class Figure:
    """A figure of the page.

    Attributes:
        slug: its name in the page's address.
        title: what it shows.
        caption: what to see in it and what that means, for a newcomer.
        panels: finished SVGs, set side by side where there is room.
        full: whether it takes the whole width of the page.
        narrow: a second rendering for narrow screens, for a figure with one wide panel.
    """

    slug: str
    title: str
    caption: str
    panels: tuple[str, ...]
    full: bool = False
    narrow: str = ""


@dataclass(frozen=True)
class Missing:
    """A figure that this run has no data for, and why."""

    title: str
    reason: str


@dataclass(frozen=True)
class Blocks:
    """Consecutive steps gathered into at most COLUMNS columns.

    Attributes:
        steps: (T,) step numbers.
        starts: (C+1,) row numbers where the columns begin, and T.
    """

    steps: Ints
    starts: Ints

    @classmethod
    def of(cls, steps: Ints, columns: int = COLUMNS) -> Blocks:
        """Columns of as equal a size as can be."""
        count = min(columns, len(steps))
        return cls(steps, np.linspace(0, len(steps), count + 1).astype(np.int64))

    def mean(self, values: Floats) -> Floats:
        """(T, ...) -> (C, ...): mean of what is known in each column."""
        pairs = zip(self.starts[:-1], self.starts[1:], strict=True)
        return np.array([nan_mean(values[first:stop]) for first, stop in pairs])

    @property
    def edges(self) -> Floats:
        """(C+1,) where the columns begin and end, in steps."""
        begin = self.steps[self.starts[:-1]] - 0.5
        return np.append(begin, self.steps[-1] + 0.5)

    @property
    def centres(self) -> Floats:
        """(C,) middle of each column, in steps."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    @property
    def labels(self) -> list[str]:
        """(C,) the steps of each column in words."""
        first, last = self.steps[self.starts[:-1]], self.steps[self.starts[1:] - 1]
        return [
            f"step {a}" if a == b else f"steps {a}–{b}" for a, b in zip(first, last, strict=True)
        ]

    @property
    def note(self) -> str:
        """A sentence about the averaging, empty when there is none."""
        most = int(np.diff(self.starts).max())
        return f" Each point is the mean of up to {most} steps." if most > 1 else ""


def bin_ticks(bins: int) -> list[float]:
    """The bins that get a label on an axis."""
    stride = 1 if bins <= 10 else (bins + 9) // 10
    return [float(b) for b in range(0, bins, stride)]


def heat(
    blocks: Blocks,
    values: Floats,
    title: str,
    about: str,
    *,
    low: float | None = 0.0,
    width: int = 380,
    height: int = 240,
    right: int = 14,
) -> Chart:
    """Bins (rows, hardest at the bottom) over steps (columns) as heat cells, with the colour
    scale's key.

    Args:
        blocks: the columns.
        values: (T, B), NaN = absent.
        low: lower end of the colour scale; None for the smallest value.
    """
    columns = blocks.mean(values)
    bins = columns.shape[1]
    known = columns[np.isfinite(columns)]
    low = (float(known.min()) if known.size else 0.0) if low is None else low
    high = float(known.max()) if known.size else 1.0
    edges = blocks.edges
    across, upright = (edges[0], edges[-1]), (-0.5, bins - 0.5)
    chart = Chart(across, upright, title, about, width=width, height=height, left=52, right=right)
    chart.cells(edges, columns, low, high)
    chart.key(low, high)
    at = bin_ticks(bins)
    for b in at:
        name = f"hard {int(b)}" if b == 0 else f"easy {int(b)}" if b == bins - 1 else str(int(b))
        chart.text(chart.x0 - 6, chart.py(b) + 4, name, anchor="end", fill="var(--muted)")
    chart.x_axis("step")
    rows = [[short(value) for value in row] for row in columns.tolist()]
    chart.hover = _hover(chart, edges, blocks.labels, cells=rows)
    return chart


def lines(
    blocks: Blocks,
    series: Mapping[str, Floats],
    title: str,
    about: str,
    *,
    zero: bool = False,
    y: tuple[float, float] | None = None,
    width: int = 380,
    height: int = 220,
) -> Chart:
    """Numbers over steps as lines, each named at its right end.

    Args:
        blocks: the columns.
        series: name -> (T,), at most four.
        zero: whether the vertical axis must hold 0.
        y: the vertical range, when it should not follow the data.
    """
    means = {name: blocks.mean(values) for name, values in series.items()}
    edges = blocks.edges
    longest = max(map(len, means)) if len(means) > 1 else 5
    chart = Chart(
        (edges[0], edges[-1]),
        y or extent(*means.values(), zero=zero),
        title,
        about,
        width=width,
        height=height,
        left=50,
        right=12 + 8 * longest,
    )
    chart.y_axis()
    chart.x_axis("step")
    ends = []
    for index, (name, values) in enumerate(means.items()):
        chart.line(blocks.centres, values, index)
        last = last_known(values)
        ends.append((last, name if len(means) > 1 else short(last), index))
    chart.end_labels(ends)
    rows = {name: [short(value) for value in values.tolist()] for name, values in means.items()}
    chart.hover = _hover(chart, edges, blocks.labels, series=rows)
    return chart


def last_known(values: Floats) -> float:
    """The last number that is not NaN; NaN when there is none."""
    known = values[np.isfinite(values)]
    return float(known[-1]) if known.size else float("nan")


def first_known(values: Floats) -> float:
    """The first number that is not NaN; NaN when there is none."""
    return last_known(values[::-1])


def _hover(chart: Chart, edges: Floats, labels: list[str], **content: object) -> str:
    """What the page's script needs to name the values under the pointer."""
    box = [chart.x0, chart.x1, chart.y1, chart.y0]
    at = [round(chart.px(float(edge)), 1) for edge in edges]
    return json.dumps(
        {"box": box, "at": at, "x": labels, **content}, separators=(",", ":"), ensure_ascii=False
    )
