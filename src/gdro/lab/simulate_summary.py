"""Simulated runs over several seeds as one summary: means with 95 % intervals, differences paired by seed, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gdro.lab.markdown import table
from gdro.lab.simulation import Trace

BASELINE = "uniform"

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t at 97.5 % for 1 to 15 degrees of freedom; beyond, 1.96 + 2.5 / degrees is within 0.01."""

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


def interval(values: ArrayLike) -> dict[str, float]:
    """Mean over seeds with its 95 % interval (Student's t); low and high are NaN for a single seed."""
    sample = np.asarray(values, np.float64)
    mean, count = float(sample.mean()), sample.size
    if count < 2 or not np.isfinite(sample).all():
        return {"mean": mean, "low": float("nan"), "high": float("nan")}
    factor = T_975[count - 2] if count - 1 <= len(T_975) else 1.96 + 2.5 / (count - 1)
    half = factor * float(sample.std(ddof=1)) / np.sqrt(count)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def final_values(trace: Trace) -> dict[str, float]:
    """Last scores, and means over the last half of the steps; regret and its bound as they stand at the end."""
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
    """For each method and measure the interval over seeds, and that of the difference from `uniform` at equal seeds."""
    runs: dict[str, dict[int, dict[str, float]]] = {}
    for trace in traces:
        runs.setdefault(trace.method, {})[trace.seed] = final_values(trace)
    baseline = runs.get(BASELINE, {})
    start = {name: interval([trace.evaluations[name][0] for trace in traces]) for name in SCORES}
    methods: dict[str, Any] = {}
    for method, by_seed in runs.items():
        paired = sorted(by_seed.keys() & baseline.keys())
        methods[method] = {
            name: interval([values[name] for values in by_seed.values()])
            | (
                {"difference": interval([by_seed[seed][name] - baseline[seed][name] for seed in paired])}
                if paired and method != BASELINE
                else {}
            )
            for name in (*SCORES, *MEANS)
        }
    return {"before_training": start, "methods": methods}


def markdown(summary: Mapping[str, Any]) -> str:
    """Two tables: what was learnt, as differences from uniform paired by seed; and how."""
    methods, start = summary["methods"], summary["before_training"]
    learnt = [["*before training*", *(f"{start[name]['mean']:.3f}" for name in SCORES)]]
    learnt += [[f"`{method}`", *(_score(values[name]) for name in SCORES)] for method, values in methods.items()]
    how = [
        [f"`{method}`", *(_value(name, values[name]["mean"]) for name in MEANS)] for method, values in methods.items()
    ]
    tables = [
        table(["method", *(TITLES[name] for name in names)], rows) for names, rows in ((SCORES, learnt), (MEANS, how))
    ]
    return "\n".join(tables)


def _score(entry: Mapping[str, Any]) -> str:
    if "difference" not in entry:
        return f"{entry['mean']:.3f}"
    gap = entry["difference"]
    half = gap["high"] - gap["mean"]
    clear = "**" if abs(gap["mean"]) > half else ""
    text = f"{gap['mean']:+.3f}" if np.isnan(half) else f"{gap['mean']:+.3f} ± {half:.3f}"
    return f"{entry['mean']:.3f} ({clear}{text}{clear})"


def _value(name: str, value: float) -> str:
    if np.isnan(value):
        return "–"
    if name in PERCENT:
        return f"{100 * value:+.1f} %"
    return f"{value:.0f}" if name.startswith("regret") else f"{value:.3f}"
