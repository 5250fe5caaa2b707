"""A small chart in hand-written SVG: axes, lines, bands, bars, dots and heat cells.

Written by hand rather than by a plotting library because the page needs what those do not give:
text that stays text, colours that follow the reader's light or dark theme (CSS variables), sizes
for a phone, equal bytes for equal input, and no import cost. One unit is one CSS pixel at the
chart's natural width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.types import Floats

LEVELS = 20
"""Steps of the sequential colour scale: CSS variables --h0 (nothing) .. --h19 (most)."""

INK, MUTED, RULE = "var(--ink)", "var(--muted)", "var(--rule)"
SERIES = ("var(--s0)", "var(--s1)", "var(--s2)", "var(--s3)")
DASHES = ("", "6 3", "2 3", "8 3 2 3")
FONT = 12
TOP = 30
"""Margin above the plot area, in which the title stands."""
LABEL_GAP = 14.0
"""Least distance of two names at the ends of lines."""


def level(value: float, low: float, high: float) -> str:
    """The colour of a value on the sequential scale from low to high."""
    position = (value - low) / (high - low) if high > low else 0.0
    return f"var(--h{min(LEVELS - 1, max(0, math.floor(position * LEVELS)))})"


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """At most `count` round numbers inside [low, high]: multiples of 1, 2 or 5 times a power of
    ten."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / count))
    for unit in (1, 2, 5, 10, 20):
        size = unit * power
        first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
        if last - first < count:
            break
    return [index * size for index in range(first, last + 1)]


def extent(*arrays: ArrayLike, zero: bool = False, pad: float = 0.06) -> tuple[float, float]:
    """Range of everything finite in the arrays, a little wider; (0, 1) when there is nothing."""
    values = np.concatenate([np.ravel(np.asarray(array, dtype=np.float64)) for array in arrays])
    values = values[np.isfinite(values)]
    if not values.size:
        return (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    gap = (high - low or abs(high) or 1.0) * pad
    return (low - (gap if not (zero and low == 0) else 0.0), high + gap)


def short(value: float) -> str:
    """A number in at most about five characters: 0.31, 12.4, 1,024, 3.1e-5."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.001 or size >= 1e7:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(power)}"
    digits = (
        0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3 if size >= 0.01 else 4
    )
    return f"{value:,.{digits}f}".replace("-", "−")


def tick_labels(values: Sequence[float]) -> list[str]:
    """The ticks with as many decimals as they need."""
    if not values:
        return []
    gap = min((b - a for a, b in itertools.pairwise(values)), default=abs(values[0]) or 1.0)
    if gap < 1e-4 or max(map(abs, values)) >= 1e6:
        return [short(value) for value in values]
    exact = (
        d for d in range(7) if all(abs(round(value, d) - value) < gap / 100 for value in values)
    )
    digits = next(exact, 6)
    return [f"{value:,.{digits}f}".replace("-", "−") for value in values]


def _n(value: float) -> str:
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


class Chart:
    """A chart under construction. Data coordinates in, SVG out.

    Args:
        x, y: data ranges of the plot area.
        title: shown at its top left and read by screen readers.
        about: one sentence for readers who do not see it.
        width, height: natural size in CSS pixels.
        left, right, bottom: margins around the plot area; above it is room for the title.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        title: str,
        about: str,
        *,
        width: int = 380,
        height: int = 220,
        left: int = 42,
        right: int = 14,
        bottom: int = 34,
    ) -> None:
        self.x, self.y, self.title, self.about = x, y, title, about
        self.width, self.height = width, height
        self.x0, self.x1, self.y0, self.y1 = left, width - right, height - bottom, TOP
        self.hover = ""
        self.parts: list[str] = []
        if title:
            self.text(0, 14, title, weight=600, size=FONT + 1)

    def px(self, value: float) -> float:
        """Horizontal place of a data value."""
        low, high = self.x
        return self.x0 + (value - low) / ((high - low) or 1.0) * (self.x1 - self.x0)

    def py(self, value: float) -> float:
        """Vertical place of a data value."""
        low, high = self.y
        return self.y0 + (value - low) / ((high - low) or 1.0) * (self.y1 - self.y0)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        anchor: str = "start",
        fill: str = INK,
        weight: int = 400,
        size: int = FONT,
        halo: bool = False,
    ) -> None:
        """Words at a place in pixels; a halo keeps them readable on top of colours."""
        extra = f' font-weight="{weight}"' if weight != 400 else ""
        extra += f' font-size="{size}"' if size != FONT else ""
        extra += f' text-anchor="{anchor}"' if anchor != "start" else ""
        if halo:
            extra += (
                ' stroke="var(--card)" stroke-width="3" stroke-linejoin="round"'
                ' paint-order="stroke"'
            )
        self.parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" fill="{fill}"{extra}>{escape(words)}</text>'
        )

    def y_axis(self, at: Sequence[float] | None = None) -> None:
        """Horizontal rules with their values."""
        values = ticks(*self.y) if at is None else list(at)
        for value, label in zip(values, tick_labels(values), strict=True):
            y = self.py(value)
            self._rule(self.x0, y, self.x1, y)
            self.text(self.x0 - 6, y + 4, label, anchor="end", fill=MUTED)

    def x_axis(self, name: str, at: Sequence[float] | None = None) -> None:
        """Values along the bottom and the axis name after them."""
        values = ticks(*self.x, count=max(3, (self.x1 - self.x0) // 55)) if at is None else list(at)
        for value, label in zip(values, tick_labels(values), strict=True):
            self.text(self.px(value), self.y0 + 16, label, anchor="middle", fill=MUTED)
        self.text(self.x1, self.y0 + 31, name, anchor="end", fill=MUTED)

    def _rule(
        self, x0: float, y0: float, x1: float, y1: float, stroke: str = RULE, dash: str = ""
    ) -> None:
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<path d="M{_n(x0)} {_n(y0)}L{_n(x1)} {_n(y1)}" stroke="{stroke}"{dashes}/>'
        )

    def rule_at(self, value: float) -> None:
        """A dashed horizontal reference line."""
        y = self.py(value)
        self._rule(self.x0, y, self.x1, y, MUTED, "3 3")

    def line(
        self, xs: ArrayLike, ys: ArrayLike, series: int = 0, width: float = 2, stroke: str = ""
    ) -> None:
        """A line with gaps where a value is missing; the dash pattern tells series apart without
        colour."""
        points = list(zip(np.ravel(xs).tolist(), np.ravel(ys).tolist(), strict=True))
        path, pen = "", "M"
        for index, (x, y) in enumerate(points):
            if not math.isfinite(y):
                pen = "M"
                continue
            path += f"{pen}{_n(self.px(x))} {_n(self.py(y))}"
            alone = pen == "M" and (
                index + 1 == len(points) or not math.isfinite(points[index + 1][1])
            )
            path += "h.1" if alone else ""
            pen = "L"
        dash = f' stroke-dasharray="{DASHES[series]}"' if DASHES[series] else ""
        colour = stroke or SERIES[series]
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
            f'stroke-linejoin="round" stroke-linecap="round"{dash}/>'
        )

    def band(self, xs: ArrayLike, low: ArrayLike, high: ArrayLike, series: int = 0) -> None:
        """The area between two lines, e.g. an interval; only where both are known."""
        rows = np.column_stack([np.ravel(xs), np.ravel(low), np.ravel(high)]).astype(np.float64)
        rows = rows[np.isfinite(rows).all(axis=1)]
        there = [f"{_n(self.px(x))} {_n(self.py(top))}" for x, _, top in rows.tolist()]
        back = [f"{_n(self.px(x))} {_n(self.py(bottom))}" for x, bottom, _ in rows[::-1].tolist()]
        if there:
            self.parts.append(
                f'<path d="M{"L".join(there + back)}Z" fill="{SERIES[series]}" opacity=".16"/>'
            )

    def dot(
        self, x: float, y: float, series: int = 0, hollow: bool = False, radius: float = 4
    ) -> None:
        """One point; hollow ones tell a second series apart without colour."""
        if math.isfinite(x) and math.isfinite(y):
            inside = "var(--card)" if hollow else SERIES[series]
            self.parts.append(
                f'<circle cx="{_n(self.px(x))}" cy="{_n(self.py(y))}" r="{radius:g}"'
                f' fill="{inside}" stroke="{SERIES[series]}" stroke-width="1.6"/>'
            )

    def segment(self, x0: float, y0: float, x1: float, y1: float, stroke: str = MUTED) -> None:
        """A straight line between two points of the data."""
        if all(map(math.isfinite, (x0, y0, x1, y1))):
            self._rule(self.px(x0), self.py(y0), self.px(x1), self.py(y1), stroke)

    def bar(self, x0: float, x1: float, value: float, fill: str) -> None:
        """A filled column from 0 up to a value."""
        if math.isfinite(value):
            top, foot = self.py(value), self.py(0.0)
            left, right = self.px(x0), self.px(x1)
            self.parts.append(
                f'<path d="M{_n(left)} {_n(foot)}V{_n(top)}H{_n(right)}V{_n(foot)}Z"'
                f' fill="{fill}"/>'
            )

    def cells(self, edges: ArrayLike, values: Floats, low: float, high: float) -> None:
        """Heat cells: column c spans edges[c]..edges[c+1], row b spans b-.5..b+.5; missing ones
        stay blank.

        Args:
            edges: (C+1,) rising data x.
            values: (C, B).
            low, high: ends of the colour scale.
        """
        xs = [self.px(float(x)) for x in np.ravel(edges)]
        paths: dict[str, list[str]] = {}
        for b in range(values.shape[1]):
            y, tall = self.py(b + 0.5), self.py(b - 0.5) - self.py(b + 0.5)
            for c, value in enumerate(values[:, b].tolist()):
                if math.isfinite(value):
                    wide = xs[c + 1] - xs[c]
                    shape = f"M{_n(xs[c])} {_n(y)}h{_n(wide + 0.3)}v{_n(tall)}h-{_n(wide + 0.3)}z"
                    paths.setdefault(level(value, low, high), []).append(shape)
        for fill, shapes in sorted(paths.items()):
            self.parts.append(f'<path fill="{fill}" d="{"".join(shapes)}"/>')

    def key(self, low: float, high: float) -> None:
        """The colour scale of heat cells with the values at its ends, below the plot."""
        foot, wide = self.y0 + 31, 4
        self.text(self.x0, foot, short(low), fill=MUTED)
        left = self.x0 + 7 * len(short(low)) + 6
        for index in range(LEVELS):
            place = f'x="{left + wide * index}" y="{foot - 9}" width="{wide + 0.3}" height="9"'
            self.parts.append(f'<rect {place} fill="var(--h{index})"/>')
        self.text(left + wide * LEVELS + 6, foot, short(high), fill=MUTED)

    def end_labels(self, entries: Sequence[tuple[float, str, int]]) -> None:
        """Names at the right end of lines, pushed apart where they would overlap.

        Args:
            entries: (data y, name, series); those without a finite y are left out.
        """
        places = sorted(
            (self.py(y), name, series) for y, name, series in entries if math.isfinite(y)
        )
        lowest = self.y1 - LABEL_GAP
        overflow = 0.0
        placed: list[tuple[float, str, int]] = []
        for y, name, series in places:
            lowest = max(y, lowest + LABEL_GAP)
            placed.append((lowest, name, series))
        if placed:
            overflow = max(0.0, placed[-1][0] - self.y0)
        for y, name, series in placed:
            self.text(self.x1 + 6, y - overflow + 4, name, fill=SERIES[series], weight=600)

    def svg(self, name: str) -> str:
        """The finished chart; `name` must be unique on the page."""
        hover = f" data-hover='{escape(self.hover, quote=True)}'" if self.hover else ""
        return (
            f'<svg class="chart" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-labelledby="{name}-t {name}-d" font-size="{FONT}"{hover}>'
            f'<title id="{name}-t">{escape(self.title or name)}</title>'
            f'<desc id="{name}-d">{escape(self.about)}</desc>{"".join(self.parts)}</svg>'
        )
