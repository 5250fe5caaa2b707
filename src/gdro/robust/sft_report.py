"""Table and figure of `gdro sft`: average, worst and adjusted loss, losses by source and weights
over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gdro.core.types import Floats

SCORES = ("worst", "average", "adjusted")
WEIGHT = "robust/weight/"
"""Before the name of a source in the trainer's logs."""


def markdown(record: dict[str, Any]) -> str:
    """One row a method: validation losses at the end of training, mean over seeds, and the change
    of the worst."""
    methods = list(dict.fromkeys(run["method"] for run in record["runs"]))
    head = ["method", *SCORES, *record["sources"]]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    start = {name: _final(record, methods[0], name, first=True) for name in _names(record)}
    lines.append(
        "| before | " + " | ".join(f"{values.mean():.3f}" for values in start.values()) + " |"
    )
    for method in methods:
        cells = [f"{_final(record, method, name).mean():.3f}" for name in _names(record)]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    for method in methods[1:]:
        change = _final(record, method, "worst_loss") - _final(record, methods[0], "worst_loss")
        text += f"\nWorst source, {method} - {methods[0]}: {change.mean():+.3f} nats a token"
        text += f" (by seed: {', '.join(f'{value:+.3f}' for value in change)}).\n"
    seeds = len(record["settings"]["seeds"])
    return text + f"\nValidation loss in nats a token, {seeds} seed{'s' if seeds > 1 else ''}.\n"


def draw_figure(record: dict[str, Any], path: Path) -> None:
    """Losses by source over steps, plain training dashed; and the weights by source of the last
    method. First seed."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    seed = record["settings"]["seeds"][0]
    every = {run["method"]: run["history"] for run in record["runs"] if run["seed"] == seed}
    last = list(every)[-1]
    runs = {name: every[name] for name in dict.fromkeys(["erm", last])}
    style = {"svg.hashsalt": "gdro", "svg.fonttype": "none", "font.size": 8}
    with mpl.rc_context({**style, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(8, 3), layout="constrained")
        losses, weights = figure.subplots(1, 2)
        for place, source in enumerate(record["sources"]):
            for method, history in runs.items():
                line = "--" if method == "erm" else "-"
                losses.plot(*series(history, f"eval_loss_{source}"), line, color=f"C{place}", lw=1)
            losses.plot([], [], color=f"C{place}", label=source)
            weights.plot(*series(runs[last], f"{WEIGHT}{source}"), color=f"C{place}", lw=1)
        losses.set_title(f"validation loss ({last}; erm dashed)")
        weights.set_title(f"mean weight of a token ({last})")
        for panel in (losses, weights):
            panel.set_xlabel("step")
        figure.legend(loc="outside lower center", ncols=len(record["sources"]), frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def log_line(logs: Mapping[str, Any]) -> str:
    """One of the trainer's logs in words; empty where there is nothing to say of training."""
    sources = [name.removeprefix("eval_loss_") for name in logs if name.startswith("eval_loss_")]
    if sources:
        worst = max(sources, key=lambda source: float(logs[f"eval_loss_{source}"]))
        average, worst_loss = float(logs["eval_average_loss"]), float(logs["eval_worst_loss"])
        return f"validation loss {average:.3f}, worst {worst_loss:.3f} ({worst})"
    if "loss" not in logs:
        return ""
    weights = ", ".join(
        f"{name.removeprefix(WEIGHT)} {float(value):.2f}"
        for name, value in logs.items()
        if name.startswith(WEIGHT)
    )
    return f"loss {float(logs['loss']):.3f}, weights {weights}"


def series(history: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one logged number."""
    found = [
        (int(entry["step"]), float(entry[name])) for entry in history if entry.get(name) is not None
    ]
    return [step for step, _ in found], [value for _, value in found]


def _names(record: dict[str, Any]) -> list[str]:
    return [
        *(f"{score}_loss" for score in SCORES),
        *(f"loss_{source}" for source in record["sources"]),
    ]


def _final(record: dict[str, Any], method: str, name: str, first: bool = False) -> Floats:
    """(seeds,) the last validation value, or the one before training."""
    runs = [run for run in record["runs"] if run["method"] == method]
    return np.array([series(run["history"], f"eval_{name}")[1][0 if first else -1] for run in runs])
