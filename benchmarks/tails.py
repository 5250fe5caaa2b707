"""How heavy must the tail be? Live-GDRO against GRPO with the same tail in less and more of what is soon solved.

    python benchmarks/tails.py runs/tails                    train what is missing (16 runs of a minute and a half)
    python benchmarks/tails.py docs/evidence/tails --report  the table again, from the outcomes there

The default recipe's mixture: some 820 prompts of its eight hard cells, diluted with prompts of its five easy ones until
they are a tenth or a twentieth (the default) of all; beyond that the easy cells run out of different questions. All are
tested on the same 40 held-out prompts of every cell, and no seed is one of the first comparison's. Each share is an
ordinary comparison, in FOLDER/SHARE.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comparisons import read, train
from gdro.lab import markdown
from gdro.lab.compare_plan import Plan
from gdro.lab.compare_table import cell, titles
from gdro.runs.config import load_config

SHARES = {"tenth": 1 / 10, "twentieth": 1 / 20}
SEEDS = {"tenth": (5, 6, 7), "twentieth": (5, 6, 7, 8, 9)}
TAIL = 820
"""Prompts of the hard cells."""
EASY = 5
"""Cells of the default recipe that come before its tail."""
METHODS = {"uniform": {"controller": "uniform"}, "live": {"controller": "live_gdro"}}
COLUMNS = ("pass_at_k", "mean_at_k", "trained_mean", "worst_bin")


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
        "data": {"size": round(TAIL / share), "cells": cells},
    }
    about = f"GRPO and Live-GDRO where one prompt in {round(1 / share)} is of the tail"
    return Plan(name=name, about=about, seeds=SEEDS[name], methods=METHODS, overrides=overrides)


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One row a share: GRPO's scores, Live-GDRO's with the differences, the relative gain in pass@8, and speed."""
    names = titles(next(iter(found.values()))["k"])
    scores = [names[column] for column in COLUMNS]
    heads = ["tail", *(f"{score}: GRPO" for score in scores), *scores, "relative, pass@8", "rollouts to GRPO's mean@8"]
    rows = []
    for name, summary in found.items():
        grpo, live = (summary["methods"][method] for method in METHODS)
        gap = live["scores"]["pass_at_k"]["difference"]
        reach, spent = live["rollouts_to_baseline"]["mean_at_k"]["rollouts"], live["rollouts"]
        row = [f"one prompt in {round(1 / SHARES[name])}"]
        row += [f"{grpo['scores'][column]['value']:.3f}" for column in COLUMNS]
        row += [cell(live["scores"][column]) for column in COLUMNS]
        row += [f"{100 * gap['relative']:+.1f} %", f"{reach:,.0f} of {spent:,.0f}" if reach <= spent else "not reached"]
        rows.append(row)
    return markdown.table(heads, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="How heavy must the tail be?")
    parser.add_argument("folder", type=Path, help="where the comparisons lie")
    parser.add_argument("--report", action="store_true", help="only table.md, from the outcomes there")
    chosen = parser.parse_args(arguments)
    if not chosen.report and train(chosen.folder, {name: plan_of(name) for name in SHARES}):
        return 1
    found = {name: read(chosen.folder / name) for name in SHARES}
    (chosen.folder / "table.md").write_text(table(found), encoding="utf-8")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
