"""Was the mixture chosen for the method? Live-GDRO, GRPO and SEC on mixtures drawn at random.

    python benchmarks/drawn_mixtures.py runs/drawn                    train what is missing (200 runs of 100 seconds)
    python benchmarks/drawn_mixtures.py docs/evidence/drawn --report  the tables again, from the outcomes there

Every mixture has the form of the default recipe's and nothing else of it: 13 of the base model's own cells, drawn by
the mixture's number alone; the five of them that the model solves most often make 19 prompts in 20, evenly, the other
eight one in 20; 16,384 prompts, 600 steps, 40 held-out prompts of every cell. A mixture is run once, with its number
as the seed. So mixtures, not seeds, are what the intervals of the means are over: what to expect of another one. Each
is an ordinary comparison, in FOLDER/NUMBER.

`quarter`, Live-GDRO that leans further to small sources, was found on the first eight, where `half` was run too; the
others confirm it. `paced`, which also asks how fast a source is learnt, was found on 101 to 108; 1 to 32 confirm that,
9 to 32 all of it.
DUMP and AdaRFT, the peers that come next after SEC, are on 1 to 32.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from comparisons import read, train
from gdro.lab import markdown
from gdro.lab.compare_plan import Plan
from gdro.lab.compare_table import estimate_of, moved, titles
from gdro.lab.stats import Estimate, seed_interval
from gdro.tiny.mixture import DEFAULT_MIXTURE

EARLY, FURTHER, AGAIN, LATER = range(1, 9), range(9, 17), range(17, 33), range(101, 109)
FIRST = (*EARLY, *FURTHER)
UNTOUCHED = (*FURTHER, *AGAIN)
FRESH, KNOWN, ALL = (*FIRST, *AGAIN), (*FIRST, *LATER), (*FIRST, *AGAIN, *LATER)
MIXTURES = {number: f"{number:02d}" for number in ALL}
"""Number -> folder."""
SETS = {
    "1 to 8": EARLY,
    "9 to 16": FURTHER,
    "101 to 108": LATER,
    "1 to 16": FIRST,
    "17 to 32": AGAIN,
    "9 to 32": UNTOUCHED,
    "1 to 32": FRESH,
    "1 to 16, 101 to 108": KNOWN,
}
"""What the means are over."""
SIZE, COMMON, TAIL, SHARE = 16_384, 5, 8, 1 / 20
SCARCE = ("chain_sum/1", "products/1", "lcm/1")
"""Cells of fewer than 40 different held-out questions: in no mixture."""
FEW = (*SCARCE, "products/2", "gcd/1", "lcm/2", "count_bits/1", "count_bits/2")
"""Cells of fewer training questions than a common one needs, 3,113: in the tail only."""
SOLVED = {
    "chain_sum/2": 0.310,
    "chain_sum/3": 0.102,
    "gcd/2": 0.356,
    "gcd/3": 0.254,
    "complex_arithmetic/1": 0.346,
    "complex_arithmetic/2": 0.218,
    "number_filtering/1": 0.612,
    "number_filtering/2": 0.275,
    "number_filtering/3": 0.058,
    "palindrome_generation/1": 0.882,
    "palindrome_generation/2": 0.242,
    "palindrome_generation/3": 0.021,
    "spell_backward/1": 0.850,
    "spell_backward/2": 0.498,
    "spell_backward/3": 0.048,
    "spell_backward/4": 0.001,
}
"""The base model's mean@8 before training (docs/base_model.md), of cells that may be common."""
METHODS: dict[str, tuple[dict[str, Any], Sequence[int]]] = {
    "uniform": ({"controller": "uniform"}, ALL),
    "live": ({"controller": "live_gdro"}, KNOWN),
    "sec": ({"controller": {"name": "sec", "category": "prefix"}, "candidates": 64}, ALL),
    "quarter": ({"controller": {"name": "live_gdro", "size_power": 0.25}}, KNOWN),
    "half": ({"controller": {"name": "live_gdro", "size_power": 0.5}}, EARLY),
    "paced": ({"controller": {"name": "live_gdro", "size_power": 0.25, "pace": 0.0005}}, FRESH),
    "dump": ({"controller": {"name": "dump", "category": "prefix"}, "candidates": 64}, FRESH),
    "adarft": ({"controller": "adarft", "candidates": 64}, FRESH),
}
"""Method -> its settings, the mixtures it was run on."""
PAIRS = (
    *product(("uniform", "sec"), ("live", "quarter", "half", "paced")),
    *product(("live", "quarter", "dump", "adarft"), ("paced",)),
)
"""The differences whose means are shown: from, of."""
SCORES = ("pass_at_k", "mean_at_k", "trained_mean", "worst_bin")


def cells_of(number: int) -> list[dict[str, Any]]:
    """The cells of one mixture, the common ones first."""
    pool = [cell for cell in DEFAULT_MIXTURE if cell.name not in SCARCE]
    chosen = np.random.default_rng(number).choice(len(pool), COMMON + TAIL, replace=False)
    drawn = [pool[place] for place in chosen]
    solved = sorted((cell for cell in drawn if cell.name not in FEW), key=lambda cell: -SOLVED[cell.name])
    common = solved[:COMMON]
    tail = [cell for cell in drawn if cell not in common]
    weights = [(cell, 100.0 * (1.0 - SHARE) / COMMON) for cell in common]
    weights += [(cell, 100.0 * SHARE / TAIL) for cell in tail]
    return [
        {"family": cell.family, "level": cell.level, "config": dict(cell.config), "weight": weight}
        for cell, weight in weights
    ]


def plan_of(number: int) -> Plan:
    """The comparison on one mixture."""
    overrides = {
        "evaluation.every": 300,
        "checkpoint.every": 300,
        "data": {"size": SIZE, "cells": cells_of(number)},
    }
    about = f"Live-GDRO, GRPO and SEC on mixture {number} of those drawn at random"
    methods = {name: settings for name, (settings, mixtures) in METHODS.items() if number in mixtures}
    return Plan(name=f"drawn-{number}", about=about, seeds=(number,), methods=methods, overrides=overrides)


def composition() -> str:
    """One row a mixture: its cells."""
    rows = []
    for number in MIXTURES:
        names = [f"{cell['family']}/{cell['level']}" for cell in cells_of(number)]
        rows.append([str(number), ", ".join(names[:COMMON]), ", ".join(names[COMMON:])])
    return markdown.table(["mixture", "common", "tail"], rows)


Found = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""Method that the differences are from -> mixture -> the comparison's summary."""


def read_all(folder: Path, against: str) -> dict[int, dict[str, Any]]:
    """Mixture -> its summary from `against`, of the methods alone that `PAIRS` compares with it."""
    wanted = [against, *(method for other, method in PAIRS if other == against)]
    return {
        number: read(folder / MIXTURES[number], against, [name for name in wanted if number in METHODS[name][1]])
        for number in METHODS[against][1]
    }


def gaps(found: Found, method: str, against: str) -> dict[int, list[Estimate]]:
    """Mixture -> a method's difference from another in each of `SCORES`."""
    return {
        number: [estimate_of(summary["methods"][method]["scores"][score]["difference"]) for score in SCORES]
        for number, summary in found[against].items()
        if number in METHODS[method][1]
    }


def over(rows: Sequence[Sequence[Estimate]]) -> list[str]:
    """The mean of each score's differences, one row a mixture, with the interval over mixtures."""
    return [moved(seed_interval([gap.value for gap in column])) for column in zip(*rows, strict=True)]


def each(found: Found, against: str) -> str:
    """One row a mixture: a method's scores and `paced`'s differences from them; then the means."""
    names = [titles(next(iter(found[against].values()))["k"])[score] for score in SCORES]
    heads = ["mixture", *(f"{name}: `{against}`" for name in names), *(f"{name}: `paced`" for name in names)]
    of = gaps(found, "paced", against)
    rows, values = [], []
    for number, row in of.items():
        other = found[against][number]["methods"][against]["scores"]
        values.append([other[score]["value"] for score in SCORES])
        rows.append([str(number), *(f"{value:.3f}" for value in values[-1]), *map(moved, row)])
    averages = [f"{mean:.3f}" for mean in np.mean(values, axis=0)]
    return markdown.table(heads, [*rows, ["*mean*", *averages, *over(list(of.values()))]])


def means(found: Found) -> list[dict[str, Any]]:
    """One entry a pair of methods and set of mixtures: the mean scores of the first, and of the differences from it."""
    entries = []
    for against, method in PAIRS:
        of = gaps(found, method, against)
        for name, numbers in SETS.items():
            if not of.keys() >= set(numbers):
                continue
            scores = {}
            for place, score in enumerate(SCORES):
                values = [found[against][n]["methods"][against]["scores"][score]["value"] for n in numbers]
                gap = seed_interval([of[n][place].value for n in numbers])
                difference = {name: round(number, 6) for name, number in asdict(gap).items()}
                scores[score] = {"value": round(float(np.mean(values)), 6), "difference": difference}
            entries.append({"method": method, "against": against, "mixtures": name, "scores": scores})
    return entries


def means_table(found: Found, entries: Sequence[Mapping[str, Any]]) -> str:
    """One row an entry: the mean differences, with intervals over mixtures."""
    names = [titles(next(iter(found["uniform"].values()))["k"])[score] for score in SCORES]
    rows = []
    for entry in entries:
        differences = [moved(estimate_of(entry["scores"][score]["difference"])) for score in SCORES]
        rows.append([f"`{entry['method']}` - `{entry['against']}`", entry["mixtures"], *differences])
    return markdown.table(["difference", "mixtures", *names], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Live-GDRO, GRPO and SEC on mixtures drawn at random.")
    parser.add_argument("folder", type=Path, help="where the comparisons lie")
    parser.add_argument("--report", action="store_true", help="only table.md and means.json, from the outcomes there")
    chosen = parser.parse_args(arguments)
    if not chosen.report and train(chosen.folder, {folder: plan_of(number) for number, folder in MIXTURES.items()}):
        return 1
    found = {against: read_all(chosen.folder, against) for against in dict(PAIRS)}
    entries = means(found)
    (chosen.folder / "means.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    parts = [composition(), means_table(found, entries), each(found, "uniform"), each(found, "sec")]
    text = "\n".join(parts)
    (chosen.folder / "table.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
