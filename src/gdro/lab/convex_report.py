"""Table and figure of `gdro simulate convex`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def markdown(record: dict[str, Any]) -> str:
    """One row for each number of groups and method."""
    rounds = record["settings"]["rounds"]
    head = ["m", "method", *(f"T={t:,}" for t in rounds), "slope", f"bound, T={rounds[-1]:,}"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    for curve in record["curves"]:
        means = np.mean(curve["gaps"], axis=0)
        cells = [str(curve["groups"]), curve["method"], *(f"{gap:.4f}" for gap in means)]
        cells += [fitted_slope(curve), f"{curve['bounds'][-1]:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    seeds = record["settings"]["seeds"]
    lines.append(
        f"\nGap of the averaged theta, mean of {seeds} seeds. `hedge` sees m samples a round, the"
        " others one."
    )
    return "\n".join(lines) + "\n"


def fitted_slope(curve: Mapping[str, Any]) -> str:
    """Slope and standard error; a dash where none was fitted."""
    if not math.isfinite(curve["slope"] or math.nan):
        return "–"
    error = curve["slope_error"]
    return f"{curve['slope']:+.2f}" + (
        f" ± {error:.2f}" if math.isfinite(error or math.nan) else ""
    )


def draw_figure(record: dict[str, Any], path: Path) -> None:
    """Gap against T, one panel for each number of groups; bounds dashed.

    Raises:
        ImportError: matplotlib is missing (it comes with the extra gdro[trl]).
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    sizes, rounds, methods = (record["settings"][key] for key in ("groups", "rounds", "methods"))
    with mpl.rc_context(
        {
            "svg.hashsalt": "gdro",
            "font.size": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    ):
        figure = Figure(figsize=(3.6 * len(sizes), 3.4), layout="constrained")
        panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for curve in record["curves"]:
            panel, gaps = panels[list(sizes).index(curve["groups"])], np.array(curve["gaps"])
            colour = f"C{methods.index(curve['method'])}"
            panel.loglog(rounds, gaps.mean(axis=0), "o-", ms=3, color=colour, label=curve["method"])
            panel.fill_between(
                rounds, gaps.min(axis=0), gaps.max(axis=0), color=colour, alpha=0.15, lw=0
            )
            panel.loglog(rounds, curve["bounds"], "--", lw=0.8, color=colour)
            panel.annotate(
                fitted_slope(curve),
                (rounds[-1], gaps.mean(axis=0)[-1]),
                color=colour,
                fontsize=7,
            )
        for panel, groups in zip(panels, sizes, strict=True):
            panel.set_title(f"{groups} groups")
            panel.set_xlabel("rounds T")
        panels[0].set_ylabel("worst group's loss above the optimum")
        handles, labels = panels[0].get_legend_handles_labels()
        title = "dashed: bounds; numbers: fitted slopes"
        figure.legend(
            handles, labels, loc="outside lower center", ncols=4, frameon=False, title=title
        )
        figure.savefig(path, format="svg", metadata={"Date": None})
