"""Figures of the data: the travelling wave of difficulty, and who weighs what in it."""

from __future__ import annotations

import numpy as np

from gdro.core import diagnostics
from gdro.core.types import Floats
from gdro.report.chart import INK, MUTED, SERIES, Chart, short
from gdro.report.panels import (
    Blocks,
    Figure,
    Missing,
    bin_ticks,
    first_known,
    heat,
    last_known,
    lines,
)
from gdro.report.read import Record

NO_BINS = "no prompt has been trained on a second time yet, so none had a bin."
BLANK = (
    " Blank cells: no prompt of that bin in the batch (where bins come from a prompt's own visits,"
    " it has none before its second)."
)


def wave_source(record: Record) -> tuple[str, str]:
    """The per-bin list that shows the wave best, and what it counts."""
    if record.has_bins("mass"):
        return "mass", "all prompts seen so far"
    return "share", "the prompts of each batch"


def wave_chart(record: Record, width: int, height: int, title: str) -> Chart:
    """The wave: the share of prompts in each bin over time, and the line of the mean bin."""
    values = record.per_bin(wave_source(record)[0])
    blocks = Blocks.of(record.steps, 160 if width > 500 else 80)
    about = "Share of prompts per bin over steps."
    chart = heat(blocks, values, title, about, width=width, height=height, right=48)
    chart.text(chart.width, chart.y1 - 16, "pass rate", anchor="end", fill=MUTED)
    for b, edge in enumerate(record.edges.tolist()):
        if b % max(1, record.bins // 5) == 0:
            chart.text(chart.x1 + 7, chart.py(b - 0.5) + 4, f"{edge:.0%}", fill=MUTED)
    middle = blocks.mean(diagnostics.mean_bin(values))
    chart.line(blocks.centres, middle, 0, 5, "var(--card)")
    chart.line(blocks.centres, middle, 0, 2.5, SERIES[1])
    last = last_known(middle)
    chart.text(
        chart.x1 - 6,
        chart.py(last) - 9,
        f"mean bin {short(last)}",
        anchor="end",
        fill=INK,
        halo=True,
    )
    return chart


def wave(record: Record) -> Figure | Missing:
    """The travelling wave, first of the figures."""
    title = "The travelling wave of difficulty"
    name, what = wave_source(record)
    if not record.has_bins(name):
        return Missing(title, NO_BINS)
    middle = diagnostics.mean_bin(record.per_bin(name))
    first, last = first_known(middle), last_known(middle)
    moved = "rose" if last > first else "fell"
    caption = (
        f"Each column is a moment of training and shows how {what} spread over the difficulty bins,"
        " the hardest (lowest pass rate) at the bottom; the stronger the colour, the more prompts."
        " When the model learns, prompts leave the hard bins and the ridge travels upwards. The"
        f" line is the mean bin: it {moved} from {short(first)} to {short(last)} of"
        f" {record.bins - 1}."
    )
    big = wave_chart(record, 880, 330, "Share of prompts per bin").svg("wave-wide")
    small = wave_chart(record, 340, 260, "Share of prompts per bin").svg("wave-narrow")
    return Figure("wave", title, caption, (big,), full=True, narrow=small)


def triptych(record: Record) -> Figure | Missing:
    """Prompt share, adversary weight and mean reward per bin over time."""
    title = "Prompts, weights and rewards"
    if not record.has_bins("share"):
        return Missing(title, NO_BINS)
    wanted = {
        "share": ("Share of the batch", "Share of the batch's prompts per bin over steps.", 0.0),
        "weight": ("Weight of a prompt", "Mean weight of a bin's prompts over steps.", None),
        "reward": ("Mean reward", "Mean reward of a bin's rollouts over steps.", None),
    }
    blocks = Blocks.of(record.steps)
    panels = tuple(
        heat(blocks, record.per_bin(name), head, about, low=low, width=320).svg(f"triptych-{name}")
        for name, (head, about, low) in wanted.items()
        if record.has_bins(name) and (name != "weight" or record.varies(name))
    )
    weights = (
        "“Weight of a prompt” how much the data adversary makes each of their answers count"
        if record.varies("weight")
        else "there is no panel of weights, because all prompts weighed alike"
    )
    caption = (
        f"“Share of the batch” shows where the prompts stand; {weights}; “Mean reward” what the"
        " model earns there. An adversary that does its work weighs most where the reward is"
        f" lowest.{blocks.note}{BLANK}"
    )
    return Figure("triptych", title, caption, panels, full=True)


def indices(record: Record) -> Figure | Missing:
    """Mean bin index, mass in the high bins, effective number of bins."""
    title = "The wave in three numbers"
    name, what = wave_source(record)
    if not record.has_bins(name):
        return Missing(title, NO_BINS)
    values, blocks, first = record.per_bin(name), Blocks.of(record.steps), high_bins(record.bins)
    weighed = weighed_share(record, name)
    both = {
        "mean": (diagnostics.mean_bin, "Mean bin index", (0.0, float(record.bins - 1))),
        "high": (
            lambda q: diagnostics.high_mass(q, first),
            f"Mass in bins {first} and up",
            (0.0, 1.0),
        ),
        "effective": (
            diagnostics.effective_bins,
            "Effective number of bins",
            (1.0, float(record.bins)),
        ),
    }
    panels = []
    for key, (function, head, y) in both.items():
        series = {"prompts": function(values)}
        if weighed is not None:
            series["weight"] = function(weighed)
        panels.append(
            lines(blocks, series, head, f"{head} over steps.", y=y, width=320).svg(f"indices-{key}")
        )
    caption = (
        f"Computed over {what}"
        + (", plain and as the adversary weighs them" if weighed is not None else "")
        + ". The mean bin is the wave's centre. The mass in the high bins is the part that is"
        f" nearly solved. The effective number of bins, exp of the entropy, is {record.bins} when"
        f" all bins hold the same and 1 when one holds everything.{blocks.note}"
    )
    return Figure("indices", title, caption, tuple(panels), full=True)


def high_bins(bins: int) -> int:
    """The first of the high (easy) bins in the report: the top three in ten."""
    return bins - max(1, round(0.3 * bins))


def weighed_share(record: Record, name: str) -> Floats | None:
    """(T, B) the shares as the adversary weighs them; its last weight stands in while a bin is
    absent."""
    if not record.varies("weight"):
        return None
    return diagnostics.weighted_share(
        record.per_bin(name), carried_forward(record.per_bin("weight"))
    )


def carried_forward(values: Floats) -> Floats:
    """(T, B) with a missing weight replaced by the last one before it, and by 1 before the
    first."""
    known = np.isfinite(values)
    rows = np.maximum.accumulate(np.where(known, np.arange(len(values))[:, None], 0), axis=0)
    return np.nan_to_num(np.take_along_axis(values, rows, axis=0), nan=1.0)


def lead_lag(record: Record) -> Figure | Missing:
    """Lead-lag (32)."""
    title = "Does the adversary lead or lag the wave?"
    if not record.has_bins("share") or not record.varies("weight"):
        return Missing(title, "all prompts of this run weighed alike, so nothing leads or lags.")
    gap = diagnostics.lead_lag(record.per_bin("share"), record.per_bin("weight"))
    blocks = Blocks.of(record.steps)
    chart = lines(
        blocks,
        {"gap": gap},
        "Mean bin by weight minus by prompts",
        "Lead-lag over steps.",
        zero=True,
    )
    chart.rule_at(0.0)
    mean = float(diagnostics.nan_mean(gap))
    side = "harder" if mean < 0 else "easier"
    caption = (
        "Below zero the weight stands on harder bins than the prompts do, above zero on easier"
        f" ones. Over this run it stood {short(abs(mean))} bins on the {side} side on"
        f" average.{blocks.note}"
    )
    return Figure("lead-lag", title, caption, (chart.svg("lead-lag-gap"),))


def snapshots(record: Record) -> Figure | Missing:
    """The distribution over bins at four moments."""
    title = "Four moments of the run"
    if not record.has_bins("share"):
        return Missing(title, NO_BINS)
    share, weighed = record.per_bin("share"), weighed_share(record, "share")
    rows = np.flatnonzero(np.nansum(share, axis=1) > 0)
    span = max(1, min(20, len(rows) // 8))
    moments = diagnostics.snapshots(share[rows], span)
    lifted = diagnostics.snapshots(weighed[rows], span) if weighed is not None else ()
    top = max(float(np.nanmax(s.values)) for s in (*moments, *lifted)) * 1.1
    panels = []
    for index, moment in enumerate(moments):
        first, last = record.steps[rows[moment.first]], record.steps[rows[moment.last]]
        head = f"{moment.name.capitalize()}: steps {first}–{last}"
        chart = Chart(
            (-0.6, record.bins - 0.4), (0.0, top), head, "Share per bin.", width=230, height=170
        )
        chart.y_axis()
        chart.x_axis("bin", bin_ticks(record.bins))
        for b, value in enumerate(moment.values.tolist()):
            chart.bar(b - 0.36, b + 0.36, value, "var(--bar)")
        if lifted:
            chart.line(np.arange(record.bins), lifted[index].values, 1)
            for b, value in enumerate(lifted[index].values.tolist()):
                chart.dot(b, value, 1, radius=2.5)
        panels.append(chart.svg(f"snapshots-{moment.name}"))
    line = " The line with dots is the same after the adversary's weights." if lifted else ""
    caption = (
        f"The columns are the prompts of the batches by bin, hardest on the left.{line} All four"
        " share one scale."
    )
    return Figure("snapshots", title, caption, tuple(panels), full=True)
