"""The study of supervised group robustness: every run of a plan, then table and figure. Goes on
where it stopped.

    python research/robust_groups.py           # some 20 minutes on one core
    python research/robust_groups.py --report  # table and figure from outcomes.npz alone

Settings are chosen by two rules, stated in the plan and applied to the mean over seeds of a
validation score: `label` (the worst label's accuracy; no true groups anywhere) and `group` (the
worst true group's).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from gdro.core.types import Floats
from gdro.io import write_atomic
from gdro.lab.stats import student_975
from robust_runs import METHODS, run

HERE = Path(__file__).parent.parent
RESULTS, WORK = HERE / "results" / "robust_groups", HERE / "runs" / "robust_groups"
SCORES = ("validation", "validation_label", "validation_group", "test", "test_label", "test_group")
WIDTHS = (1, 2, 4, 1, 2, 4)
"""Numbers of each score in a row of `outcomes.npz`."""
RULES = {"label": "validation_label", "group": "validation_group"}


@dataclass(frozen=True)
class Job:
    """One run: a task, the groups that are told, a method, the number of its setting, and a
    seed."""

    task: str
    groups: str
    method: str
    setting: int
    seed: int

    @property
    def key(self) -> str:
        return f"{self.task}/{self.groups}/{self.method}/{self.setting}/{self.seed}"


def settings_of(plan: dict[str, Any], method: str) -> list[tuple[float, dict[str, Any]]]:
    """The settings of a method: every weight decay with every set of options."""
    entry = plan["methods"][method]
    return [(decay, options) for decay in entry["decays"] for options in entry.get("options", [{}])]


def jobs_of(plan: dict[str, Any]) -> Iterator[Job]:
    """Every run, seed by seed; a method that is not told the case's groups runs once a task."""
    cases = [tuple(case) for case in plan["cases"]]
    for task in dict.fromkeys(task for task, _ in cases):
        for seed in plan["seeds"]:
            for method in plan["methods"]:
                for groups in [groups for t, groups in cases if t == task]:
                    if groups == "clean" or METHODS[method].told == "given":
                        for setting in range(len(settings_of(plan, method))):
                            yield Job(task, groups, method, setting, seed)


def train_all(plan: dict[str, Any]) -> dict[str, list[float]]:
    """Scores of every job by key; those in WORK already are not run again."""
    WORK.mkdir(parents=True, exist_ok=True)
    log = WORK / "rows.jsonl"
    found: dict[str, list[float]] = {}
    for line in log.read_text().splitlines() if log.is_file() else []:
        row = json.loads(line)
        found[row["key"]] = row["scores"]
    with log.open("a") as out:
        for job in jobs_of(plan):
            if job.key in found:
                continue
            decay, options = settings_of(plan, job.method)[job.setting]
            outcome = run(job.task, job.groups, job.method, decay, options, job.seed)
            found[job.key] = [
                float(value) for score in SCORES for value in np.atleast_1d(outcome[score])
            ]
            out.write(json.dumps({"key": job.key, "scores": found[job.key]}) + "\n")
            out.flush()
    return found


def save_outcomes(plan: dict[str, Any], found: dict[str, list[float]]) -> None:
    """`outcomes.npz`: keys and (R, 14) float32 scores, in the order of the jobs."""
    keys = [job.key for job in jobs_of(plan)]
    content = io.BytesIO()
    np.savez_compressed(
        content, keys=np.array(keys), scores=np.array([found[key] for key in keys], np.float32)
    )
    write_atomic(RESULTS / "outcomes.npz", content.getvalue())


def load_outcomes() -> dict[str, Floats]:
    """Scores by key."""
    with np.load(RESULTS / "outcomes.npz", allow_pickle=False) as file:
        return dict(zip(file["keys"].tolist(), file["scores"].astype(np.float64), strict=True))


def scores_of(
    plan: dict[str, Any],
    found: dict[str, Floats],
    case: tuple[str, str],
    method: str,
    setting: int,
    score: str,
) -> Floats:
    """(seeds, width) of one score; `oracle` is group DRO told the true groups."""
    task, groups = case
    if method == "oracle":
        method, groups = "group_dro", "clean"
    groups = groups if METHODS[method].told == "given" else "clean"
    start = sum(WIDTHS[: SCORES.index(score)])
    stop = start + WIDTHS[SCORES.index(score)]
    keys = [Job(task, groups, method, setting, seed).key for seed in plan["seeds"]]
    return np.array([found[key][start:stop] for key in keys])


def choose(
    plan: dict[str, Any], found: dict[str, Floats], case: tuple[str, str], method: str, rule: str
) -> int:
    """The setting with the best validation score, mean over seeds of the worst; the first of those
    that tie."""
    of = "group_dro" if method == "oracle" else method
    values = [
        scores_of(plan, found, case, method, setting, RULES[rule]).min(axis=1).mean()
        for setting in range(len(settings_of(plan, of)))
    ]
    return int(np.argmax(values))


def interval(values: Floats) -> tuple[float, float]:
    """Mean and half width of its 95 % interval over seeds."""
    half = student_975(len(values) - 1) * float(values.std(ddof=1)) / float(np.sqrt(len(values)))
    return float(values.mean()), half


def rows_of(
    plan: dict[str, Any], found: dict[str, Floats], case: tuple[str, str]
) -> list[dict[str, Any]]:
    """One row a method: by rule the setting, test average and worst group, and its difference from
    Balanced."""
    rows = []
    names = [*plan["methods"], *(["oracle"] if case[1] != "clean" else [])]
    for method in names:
        row: dict[str, Any] = {"method": method}
        for rule in RULES:
            setting = choose(plan, found, case, method, rule)
            worst = scores_of(plan, found, case, method, setting, "test_group").min(axis=1)
            base = choose(plan, found, case, "balanced", rule)
            balanced = scores_of(plan, found, case, "balanced", base, "test_group").min(axis=1)
            row[rule] = {
                "setting": setting,
                "average": float(scores_of(plan, found, case, method, setting, "test").mean()),
                "worst": interval(worst),
                "difference": interval(worst - balanced),
            }
        rows.append(row)
    return rows


def markdown(plan: dict[str, Any], found: dict[str, Floats]) -> str:
    """One table a case."""
    lines = []
    for case in [tuple(case) for case in plan["cases"]]:
        lines += [f"### {case[0]}, {case[1]} groups", ""]
        lines += [
            "| method | average | worst group | - balanced | average, group rule | worst group | -"
            " balanced |"
        ]
        lines += ["|---|---:|---:|---:|---:|---:|---:|"]
        for row in rows_of(plan, found, case):
            cells = [row["method"]]
            for rule in RULES:
                part = row[rule]
                (worst, half), (difference, wide) = part["worst"], part["difference"]
                versus = "" if row["method"] == "balanced" else f"{difference:+.3f} ± {wide:.3f}"
                if versus and abs(difference) > wide:
                    versus = f"**{versus}**"
                cells += [f"{part['average']:.3f}", f"{worst:.3f} ± {half:.3f}", versus]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    head = (
        f"Test accuracy, mean of {len(plan['seeds'])} seeds with 95 % intervals (Student's t over"
        " seeds); differences are paired by seed, bold where the interval leaves 0 out. First"
        " three columns: setting chosen by the worst label's validation accuracy, without true"
        " groups; last three: by the worst true group's.\n"
    )
    tables = [
        f"## Worst group, setting chosen by the {rule} rule\n\n{summary(plan, found, rule)}"
        for rule in RULES
    ]
    return head + "\n" + "\n".join(tables) + "\n" + "\n".join(lines)


def summary(plan: dict[str, Any], found: dict[str, Floats], rule: str) -> str:
    """Worst-group accuracy of every method and case by one rule; + and - where the interval of the
    difference from Balanced leaves 0 out."""
    cases = [tuple(case) for case in plan["cases"]]
    by_case = [{row["method"]: row[rule] for row in rows_of(plan, found, case)} for case in cases]
    lines = [
        "| | " + " | ".join(f"{task}, {groups}" for task, groups in cases) + " |",
        "|---|" + "---:|" * len(cases),
    ]
    for method in [*plan["methods"], "oracle"]:
        cells = [method]
        for rows in by_case:
            if method not in rows:
                cells.append("")
                continue
            (worst, _), (difference, wide) = rows[method]["worst"], rows[method]["difference"]
            sign = "" if abs(difference) <= wide else "+" if difference > 0 else "-"
            cells.append(f"{worst:.2f}{sign}".replace("0.", "."))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw_figure(plan: dict[str, Any], found: dict[str, Floats], path: Path) -> None:
    """Worst-group accuracy by method, a panel a case; filled: label rule, hollow: group rule; the
    line is Balanced."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    cases = [tuple(case) for case in plan["cases"]]
    style = {"svg.hashsalt": "gdro", "svg.fonttype": "none", "font.size": 8}
    with mpl.rc_context({**style, "axes.spines.top": False, "axes.spines.right": False}):
        columns = 3
        figure = Figure(figsize=(10, 2.6 * -(-len(cases) // columns)), layout="constrained")
        panels = figure.subplots(-(-len(cases) // columns), columns, squeeze=False).ravel()
        for panel, case in zip(panels, cases, strict=False):
            rows = rows_of(plan, found, case)
            for place, row in enumerate(reversed(rows)):
                for shift, rule in ((0.15, "label"), (-0.15, "group")):
                    mean, half = row[rule]["worst"]
                    inside = "C0" if rule == "label" else "white"
                    panel.errorbar(
                        mean, place + shift, xerr=half, fmt="o", ms=4, color="C0", mfc=inside, lw=1
                    )
            balanced = next(row for row in rows if row["method"] == "balanced")
            panel.axvline(balanced["label"]["worst"][0], color="0.6", lw=0.8)
            panel.set_yticks(range(len(rows)), [row["method"] for row in reversed(rows)])
            panel.set_title(f"{case[0]}, {case[1]} groups")
        for panel in panels[len(cases) :]:
            panel.set_axis_off()
        figure.supxlabel(
            "worst true group's test accuracy; filled: chosen without true groups, hollow: with"
            " them"
        )
        figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> int:
    parser = argparse.ArgumentParser(description="The study of supervised group robustness.")
    parser.add_argument(
        "--report", action="store_true", help="table and figure from the outcomes alone"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    plan = yaml.safe_load((RESULTS / "plan.yaml").read_text())
    if not chosen.report:
        save_outcomes(plan, train_all(plan))
    found = load_outcomes()
    write_atomic(RESULTS / "table.md", markdown(plan, found))
    draw_figure(plan, found, RESULTS / "figure.svg")
    print(f"written to {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
