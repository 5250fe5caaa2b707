"""The figure of `gdro simulate`: eight panels over steps, one line a method, its range over seeds as a band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gdro.core.types import Floats
from gdro.lab.simulate_summary import TITLES
from gdro.lab.simulation import Trace

SCORE_PANELS = ("mean_at_k", "pass_at_k", "hardest_fifth_pass", "forgetting")
STEP_PANELS = ("live_groups", "law_distance", "variance_change", "regret")


def draw_figure(traces: Sequence[Trace], path: Path) -> None:
    """Write the SVG; the same traces give the same bytes.

    Raises:
        ImportError: matplotlib is missing (it comes with the extra gdro[trl]).
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(trace.method for trace in traces))
    with mpl.rc_context({"svg.hashsalt": "gdro", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(13, 6.5), layout="constrained")
        panels = figure.subplots(2, 4).ravel()
        colours = mpl.colormaps["tab20"]
        for place, method in enumerate(methods):
            chosen = [trace for trace in traces if trace.method == method]
            style = {"color": colours(place % 20), "lw": 2.0 if method == "uniform" else 1.1}
            for panel, name in zip(panels, (*SCORE_PANELS, *STEP_PANELS), strict=True):
                _line(panel, name, method, chosen, style)
        for panel, name in zip(panels, (*SCORE_PANELS, *STEP_PANELS), strict=True):
            panel.set_title(TITLES[name] + (" against its bound (dotted)" if name == "regret" else ""))
            panel.set_xlabel("step")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 7), frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _line(panel: Any, name: str, method: str, traces: Sequence[Trace], style: dict[str, Any]) -> None:
    if name in SCORE_PANELS:
        steps, values = np.array(traces[0].evaluations["step"]), np.array([t.evaluations[name] for t in traces])
    else:
        steps, values = _smooth([trace.steps[name] for trace in traces], name == "regret")
    if np.isnan(values).all():
        return
    panel.plot(steps, values.mean(axis=0), label=method, **style)
    panel.fill_between(steps, values.min(axis=0), values.max(axis=0), color=style["color"], alpha=0.08, lw=0)
    if name == "regret" and not np.isnan(traces[0].steps["regret_bound"][-1]):
        at, bound = _smooth([trace.steps["regret_bound"] for trace in traces], True)
        panel.plot(at, bound.mean(axis=0), ls=":", color=style["color"], lw=1)


def _smooth(series: Sequence[Sequence[float]], last: bool) -> tuple[Floats, Floats]:
    """At most 60 points of each series: means over equal spans, or their last values for what accumulates."""
    values = np.array(series, np.float64)
    span = max(values.shape[1] // 60, 1)
    points = values.shape[1] // span
    blocks = values[:, : points * span].reshape(len(values), points, span)
    known = ~np.isnan(blocks)
    mean = np.where(known, blocks, 0.0).sum(axis=2) / np.maximum(known.sum(axis=2), 1)
    mean[~known.any(axis=2)] = np.nan
    return (np.arange(points) + 1.0) * span, blocks[:, :, -1] if last else mean
