"""How heavy must the tail be? Live-GDRO against GRPO with the same tail in less and more of what is soon solved.

    python benchmarks/tails.py runs/tails                    train what is missing (22 runs of a minute and a half)
    python benchmarks/tails.py docs/evidence/tails --report  table and figure again, from the outcomes there

The default recipe's mixture: some 820 prompts of its eight hard cells, diluted with prompts of its five easy ones until
they are a tenth, a twentieth (the default) or a fortieth of all. All are tested on the same 40 held-out prompts of
every cell, and no seed is one of the first comparison's. Each share is an ordinary comparison, in FOLDER/SHARE.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gdro.lab.compare import main as compare
from gdro.lab.compare_plan import Plan, jobs_of, plan_text, read_plan
from gdro.lab.compare_record import read_comparison
from gdro.lab.compare_table import cell, summarize
from gdro.report.chart import Chart, extent
from gdro.report.palette import fixed
from gdro.runs.config import load_config
from gdro.runs.config_prompts import training_sizes

SHARES = {"tenth": 1 / 10, "twentieth": 1 / 20, "fortieth": 1 / 40}
SEEDS = {"tenth": (5, 6, 7), "twentieth": (5, 6, 7, 8, 9), "fortieth": (5, 6, 7)}
TAIL = 820
"""Prompts of the hard cells."""
LARGEST = 20_000
"""Prompts in all: beyond that a cell runs out of different questions, so a fortieth of them is only 500."""
EASY = 5
"""Cells of the default recipe that come before its tail."""
METHODS = {"uniform": {"controller": "uniform"}, "live": {"controller": "live_gdro"}}
COLUMNS = ("pass_at_k", "mean_at_k", "trained_mean", "worst_bin")
HEADS = ("pass@8", "mean@8", "mean@8, shares of training", "pass@1, worst bin")


def plan_of(name: str) -> Plan:
    """The comparison at one share of the tail."""
    share, cells = SHARES[name], [dict(entry) for entry in load_config("default", []).data.model_dump()["cells"]]
    easy, hard = (sum(entry["weight"] for entry in part) for part in (cells[:EASY], cells[EASY:]))
    for place, entry in enumerate(cells):
        scale = (1.0 - share) / easy if place < EASY else share / hard
        entry["weight"] = round(100.0 * scale * entry["weight"], 4)
    overrides = {
        "evaluation.every": 150,
        "checkpoint.every": 150,
        "data": {"size": min(round(TAIL / share), LARGEST), "cells": cells},
    }
    about = f"GRPO and Live-GDRO where one prompt in {round(1 / share)} is of the tail"
    return Plan(name=name, about=about, seeds=SEEDS[name], methods=METHODS, overrides=overrides)


def train(root: Path) -> int:
    """Run or go on with every comparison; 0 when all are done."""
    worst = 0
    for name in SHARES:
        plan = root / name / "compare.yaml"
        if not plan.is_file():
            plan.parent.mkdir(parents=True)
            plan.write_text(plan_text(plan_of(name)), encoding="utf-8")
        worst = max(worst, compare([str(plan.parent)]))
    return worst


def read(root: Path) -> dict[str, dict[str, Any]]:
    """The summary at each share."""
    found = {}
    for name in SHARES:
        plan = read_plan(root / name / "compare.yaml")
        sizes = training_sizes(jobs_of(plan, root / name)[0].config.data)
        found[name] = summarize(read_comparison(root / name, plan, sizes))
    return found


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One row a share: GRPO's scores, Live-GDRO's with the differences, the relative gain of two of them, and speed."""
    heads = ["tail", *(f"{head}: GRPO" for head in HEADS), *HEADS, "relative, pass@8", "rollouts to GRPO's mean@8"]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for name, summary in found.items():
        grpo, live = (summary["methods"][method] for method in METHODS)
        gap = live["scores"]["pass_at_k"]["difference"]
        reach, spent = live["rollouts_to_baseline"]["mean_at_k"]["rollouts"], live["rollouts"]
        row = [f"one prompt in {round(1 / SHARES[name])}"]
        row += [f"{grpo['scores'][column]['value']:.3f}" for column in COLUMNS]
        row += [cell(live["scores"][column]) for column in COLUMNS]
        row += [f"{100 * gap['relative']:+.1f} %", f"{reach:,.0f} of {spent:,.0f}" if reach <= spent else "not reached"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def figure(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Differences in pass@8 (left dot) and mean@8 (right dot) at each share, with their intervals."""
    gaps = {
        name: [summary["methods"]["live"]["scores"][column]["difference"] for column in ("pass_at_k", "mean_at_k")]
        for name, summary in found.items()
    }
    ends = [gap[part] for pair in gaps.values() for gap in pair for part in ("low", "high")]
    about = "; ".join(f"{name} {pair[0]['value']:+.3f} and {pair[1]['value']:+.3f}" for name, pair in gaps.items())
    title = "Live-GDRO against GRPO: gain in pass@8 (blue) and mean@8, by the tail's share"
    chart = Chart((-0.5, len(gaps) - 0.5), extent([0.0], ends), title, f"{title}: {about}", width=640, height=300)
    chart.y_axis()
    labels = [f"one prompt in {round(1 / SHARES[name])}" for name in gaps]
    chart.x_axis("", list(range(len(gaps))), labels)
    for place, pair in enumerate(gaps.values()):
        for series, gap in enumerate(pair):
            x = place + (0.08 if series else -0.08)
            chart.segment(x, gap["low"], x, gap["high"])
            chart.dot(x, gap["value"], series, hollow=gap["low"] <= 0.0)
    return fixed(chart.svg("tails"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="How heavy must the tail be?")
    parser.add_argument("folder", type=Path, help="where the comparisons lie")
    parser.add_argument("--report", action="store_true", help="only table.md and figure.svg, from the outcomes there")
    chosen = parser.parse_args(arguments)
    if not chosen.report and train(chosen.folder):
        return 1
    found = read(chosen.folder)
    (chosen.folder / "table.md").write_text(table(found), encoding="utf-8")
    (chosen.folder / "figure.svg").write_text(figure(found), encoding="utf-8")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
