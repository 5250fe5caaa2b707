"""Whether the method acts: which sources and bins it trained on, of those it was offered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gdro.core.types import Floats
from gdro.report.chart import SERIES, Chart
from gdro.report.panels import Blocks, Figure, Missing, bin_ticks, lines
from gdro.report.read import Record

SHOWN = 12
"""Sources drawn; the others are drawn as one."""


def chosen(record: Record) -> Figure | Missing:
    """Prompts offered and chosen by source and by bin, and the share of groups with a gradient."""
    title = "Chosen, by source and difficulty"
    if not record.sources:
        return Missing(title, "the record does not say what the batches were chosen from.")
    selects = chooses(record)
    sources = offered_and_chosen(record)
    charts = {"source": _by_source(sources, selects)}
    if record.has_bins("choice.offered_bins"):
        charts["bin"] = _by_bin(record, selects)
    if (gradient := gradient_shares(record, selects)) is not None:
        charts["gradient"] = lines(
            Blocks.of(record.steps),
            gradient,
            "Groups with a gradient",
            "Share of groups whose rewards differ: expected and observed, over steps.",
            zero=True,
            width=320,
        )
    panels = tuple(chart.svg(f"chosen-{name}") for name, chart in charts.items())
    return Figure("chosen", title, _caption(record, selects), panels, full=True)


def chooses(record: Record) -> bool:
    """Whether batches were chosen among more prompts than they hold."""
    more = record.scalar("choice.offered") > record.scalar("choice.chosen")
    return bool(more.any())


def gradient_shares(record: Record, selects: bool) -> dict[str, Floats] | None:
    """Expected share of groups with a gradient in the pool and among the chosen, and the observed
    one; None without the last."""
    if not record.has("zero_variance_share"):
        return None
    names = {"choice.live_offered": "pool", "live_predicted": "chosen"}
    series = {name: record.scalar(key) for key, name in names.items() if record.has(key)}
    if not selects:
        series.pop("pool", None)
    return series | {"observed": 1.0 - record.scalar("zero_variance_share")}


def offered_and_chosen(record: Record) -> dict[str, tuple[float, float]]:
    """Source -> its share of the prompts offered and of those chosen, over the whole run, largest
    first."""
    sums = {
        name: (_sum(columns, "offered"), _sum(columns, "chosen"))
        for name, columns in record.sources.items()
    }
    all_offered, all_chosen = (max(1.0, sum(pair[i] for pair in sums.values())) for i in (0, 1))
    shares = {name: (a / all_offered, b / all_chosen) for name, (a, b) in sums.items()}
    ranked = sorted(shares, key=lambda name: (-max(shares[name]), name))
    found = {name or "(no source)": shares[name] for name in ranked[:SHOWN]}
    if rest := ranked[SHOWN:]:
        a, b = (sum(shares[name][i] for name in rest) for i in (0, 1))
        found[f"{len(rest)} others"] = (a, b)
    return found


def _sum(columns: Mapping[str, Floats], key: str) -> float:
    return float(np.nansum(columns[key])) if key in columns else 0.0


def _by_source(shares: Mapping[str, tuple[float, float]], selects: bool) -> Chart:
    names = dict(zip(shares, _brief(list(shares)), strict=True))
    height = 44 + 30 * len(shares)
    chart = Chart(
        (0.0, max(max(pair) for pair in shares.values()) or 1.0),
        (len(shares) - 0.5, -0.5),
        "Share of prompts, by source",
        "For each source a bar of the prompts chosen, above it one of those offered.",
        width=320,
        height=height,
        left=18 + 7 * max(map(len, names.values())),
        right=44,
        bottom=4,
    )
    for row, (name, (offered, taken)) in enumerate(shares.items()):
        middle = chart.py(row)
        if selects:
            _bar(chart, middle - 9, offered, "var(--rule)")
            _bar(chart, middle, taken, SERIES[0])
        else:
            _bar(chart, middle - 5, taken, SERIES[0])
        chart.text(chart.x0 - 8, middle + 4, names[name], anchor="end")
        chart.text(chart.px(max(offered, taken)) + 5, middle + 4, f"{taken:.0%}", fill=SERIES[0])
    return chart


def _bar(chart: Chart, top: float, value: float, fill: str) -> None:
    wide = chart.px(value) - chart.x0
    chart.parts.append(
        f'<rect x="{chart.x0}" y="{top:.1f}" width="{wide:.1f}" height="9" rx="2" fill="{fill}"/>'
    )


def _brief(names: list[str]) -> list[str]:
    """The names without the data set that all of them begin with; of a long one its end, where the
    differences stand."""
    heads = {name.partition("/")[0] for name in names if "/" in name}
    if len(heads) == 1:
        names = [name.partition("/")[2] or name for name in names]
    return [name if len(name) <= 24 else "…" + name[-23:] for name in names]


def _by_bin(record: Record, selects: bool) -> Chart:
    offered, taken = (
        np.nansum(record.per_bin(f"choice.{what}_bins"), axis=0) for what in ("offered", "chosen")
    )
    offered, taken = (counts / max(1.0, float(counts.sum())) for counts in (offered, taken))
    top = float(max(offered.max(), taken.max())) or 1.0
    chart = Chart(
        (-0.5, record.bins - 0.5),
        (0.0, top * 1.05),
        "Share of prompts, by bin",
        "For each bin a column of the prompts offered and one of those chosen.",
        width=320,
    )
    chart.y_axis()
    chart.x_axis("bin, hardest first", bin_ticks(record.bins))
    for b in range(record.bins):
        if selects:
            chart.bar(b - 0.42, b - 0.02, float(offered[b]), "var(--rule)")
            chart.bar(b + 0.02, b + 0.42, float(taken[b]), SERIES[0])
        else:
            chart.bar(b - 0.3, b + 0.3, float(taken[b]), SERIES[0])
    return chart


def _caption(record: Record, selects: bool) -> str:
    if not selects:
        return (
            "This controller trains on the prompts as the data loader gives them: by source, by"
            " the bin that they had then (a prompt that has none is left out), and the share of"
            " their groups that had a gradient."
        )
    offered = float(np.nanmax(record.scalar("choice.offered")))
    taken = float(np.nanmax(record.scalar("choice.chosen")))
    return (
        f"Each step the controller chose {taken:,.0f} of {offered:,.0f} prompts. Grey: the share of"
        " a source, or a bin, among those offered; coloured: among those chosen. Where the two are"
        " alike, it does not act. The lines are the share of groups whose rewards differ, which"
        " alone have a gradient: expected among all offered (what chance would give), expected"
        " among the chosen, and observed." + Blocks.of(record.steps).note
    )
