"""Simulated runs over several seeds: means with 95 % intervals, differences paired by seed, tables,
one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gdro.core.types import Floats
from gdro.lab.simulation import Trace
from gdro.lab.stats import seed_interval
from gdro.lab.text import cell, table

BASELINE = "uniform"

SCORES = ("mean_at_k", "pass_at_k", "hardest_fifth_pass", "worst_bin", "forgetting")
MEANS = (
    "live_groups",
    "live_weight",
    "signal_share",
    "variance_change",
    "wse_change",
    "law_distance",
    "estimate_error",
    "regret",
    "regret_bound",
)

TITLES = {
    "mean_at_k": "mean@8",
    "pass_at_k": "pass@8",
    "hardest_fifth_pass": "pass@8, hardest fifth",
    "worst_bin": "pass@8, worst bin",
    "forgetting": "forgetting",
    "live_groups": "live groups",
    "live_weight": "weight on live groups",
    "signal_share": "signal share",
    "variance_change": "true variance",
    "wse_change": "WSE",
    "law_distance": "distance from the law",
    "estimate_error": "error of estimates",
    "regret": "regret",
    "regret_bound": "bound",
}
PERCENT = {"variance_change", "wse_change"}


SCORE_PANELS = ("mean_at_k", "pass_at_k", "hardest_fifth_pass", "forgetting")
STEP_PANELS = ("live_groups", "law_distance", "variance_change", "regret")


def final_values(trace: Trace) -> dict[str, float]:
    """Last scores, and means over the last half of the steps; regret and its bound as they stand at
    the end."""
    values = {name: trace.evaluations[name][-1] for name in SCORES}
    for name in MEANS:
        series = np.array(trace.steps[name])
        late = series[len(series) // 2 :]
        late = late[~np.isnan(late)]
        if name in ("regret", "regret_bound"):
            values[name] = float(series[-1])
        else:
            values[name] = float(late.mean()) if late.size else float("nan")
    return values


def summarize(traces: Sequence[Trace]) -> dict[str, Any]:
    """For each method and measure the interval over seeds, and that of the difference from
    `uniform` at equal seeds."""
    runs: dict[str, dict[int, dict[str, float]]] = {}
    for trace in traces:
        runs.setdefault(trace.method, {})[trace.seed] = final_values(trace)
    baseline = runs.get(BASELINE, {})
    first = {trace.seed: trace for trace in traces}  # every method starts a seed alike
    start = {name: _interval([t.evaluations[name][0] for t in first.values()]) for name in SCORES}
    methods: dict[str, Any] = {}
    for method, by_seed in runs.items():
        paired = sorted(by_seed.keys() & baseline.keys())
        methods[method] = {
            name: _interval([values[name] for values in by_seed.values()])
            | (
                {
                    "difference": _interval(
                        [by_seed[seed][name] - baseline[seed][name] for seed in paired]
                    )
                }
                if paired and method != BASELINE
                else {}
            )
            for name in (*SCORES, *MEANS)
        }
    return {"before_training": start, "methods": methods}


def markdown(summary: Mapping[str, Any]) -> str:
    """Two tables: what was learnt, as differences from uniform paired by seed; and how."""
    methods, start = summary["methods"], summary["before_training"]
    learnt = [["*before training*", *(f"{start[name]['value']:.3f}" for name in SCORES)]]
    learnt += [
        [f"`{method}`", *(cell(values[name]) for name in SCORES)]
        for method, values in methods.items()
    ]
    how = [
        [f"`{method}`", *(_value(name, values[name]["value"]) for name in MEANS)]
        for method, values in methods.items()
    ]
    tables = [
        table(["method", *(TITLES[name] for name in names)], rows)
        for names, rows in ((SCORES, learnt), (MEANS, how))
    ]
    return "\n".join(tables)


def _interval(values: Sequence[float]) -> dict[str, Any]:
    return asdict(seed_interval(values))


def _value(name: str, value: float) -> str:
    if np.isnan(value):
        return "–"
    if name in PERCENT:
        return f"{100 * value:+.1f} %"
    return f"{value:.0f}" if name.startswith("regret") else f"{value:.3f}"


def draw_figure(traces: Sequence[Trace], path: Path) -> None:
    """Write the SVG; the same traces give the same bytes.

    Raises:
        ImportError: matplotlib is missing (it comes with the extra gdro[trl]).
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(trace.method for trace in traces))
    with mpl.rc_context(
        {
            "svg.hashsalt": "gdro",
            "font.size": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    ):
        figure = Figure(figsize=(13, 6.5), layout="constrained")
        panels = figure.subplots(2, 4).ravel()
        colours = mpl.colormaps["tab20"]
        for place, method in enumerate(methods):
            chosen = [trace for trace in traces if trace.method == method]
            style = {"color": colours(place % 20), "lw": 2.0 if method == "uniform" else 1.1}
            for panel, name in zip(panels, (*SCORE_PANELS, *STEP_PANELS), strict=True):
                _line(panel, name, method, chosen, style)
        for panel, name in zip(panels, (*SCORE_PANELS, *STEP_PANELS), strict=True):
            panel.set_title(
                TITLES[name] + (" against its bound (dotted)" if name == "regret" else "")
            )
            panel.set_xlabel("step")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(len(labels), 7), frameon=False
        )
        figure.savefig(path, format="svg", metadata={"Date": None})


def _line(
    panel: Any, name: str, method: str, traces: Sequence[Trace], style: dict[str, Any]
) -> None:
    if name in SCORE_PANELS:
        steps, values = (
            np.array(traces[0].evaluations["step"]),
            np.array([t.evaluations[name] for t in traces]),
        )
    else:
        steps, values = _smooth([trace.steps[name] for trace in traces], name == "regret")
    if np.isnan(values).all():
        return
    panel.plot(steps, values.mean(axis=0), label=method, **style)
    panel.fill_between(
        steps, values.min(axis=0), values.max(axis=0), color=style["color"], alpha=0.08, lw=0
    )
    if name == "regret" and not np.isnan(traces[0].steps["regret_bound"][-1]):
        at, bound = _smooth([trace.steps["regret_bound"] for trace in traces], True)
        panel.plot(at, bound.mean(axis=0), ls=":", color=style["color"], lw=1)


def _smooth(series: Sequence[Sequence[float]], last: bool) -> tuple[Floats, Floats]:
    """At most 60 points of each series: means over equal spans, or their last values for what
    accumulates."""
    values = np.array(series, np.float64)
    span = max(values.shape[1] // 60, 1)
    points = values.shape[1] // span
    blocks = values[:, : points * span].reshape(len(values), points, span)
    known = ~np.isnan(blocks)
    mean = np.where(known, blocks, 0.0).sum(axis=2) / np.maximum(known.sum(axis=2), 1)
    mean[~known.any(axis=2)] = np.nan
    return (np.arange(points) + 1.0) * span, blocks[:, :, -1] if last else mean
