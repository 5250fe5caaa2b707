"""One method against the others over several mixtures: who is ahead where, and on average.

    python benchmarks/mixtures.py docs/evidence/first docs/evidence/second docs/evidence/third --against live

For every method that all of these comparisons have: the difference from `--against` in pass@8 and mean@8 on each
mixture and the mean over the mixtures, which are independent of one another in seeds and prompts. The half width of its
95 % interval is the root of the summed squares of theirs, over their number; as each is Student's t with few degrees of
freedom, that is wider than need be.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparisons import read
from gdro.core.errors import GDROError
from gdro.lab import markdown
from gdro.lab.compare_table import estimate_of, moved, titles
from gdro.lab.stats import Estimate
from gdro.runs.config_base import ConfigError
from gdro.runs.errors import RunError

SCORES = ("pass_at_k", "mean_at_k")


def together(gaps: Sequence[Estimate]) -> Estimate:
    """The mean of independent differences."""
    mean = sum(gap.value for gap in gaps) / len(gaps)
    half = math.hypot(*(gap.high - gap.value for gap in gaps)) / len(gaps)
    return Estimate(mean, mean - half, mean + half)


def table(found: dict[str, dict[str, Any]], against: str) -> str:
    """One row a method: its differences from `against`, score by score."""
    first = next(iter(found.values()))
    methods = [
        m for m in first["methods"] if m != against and all(m in summary["methods"] for summary in found.values())
    ]
    names = titles(first["k"])
    heads = [f"{names[score]}: {place}" for score in SCORES for place in (*found, "mean")]
    rows = []
    for method in methods:
        row = [f"`{method}`"]
        for score in SCORES:
            scores = [summary["methods"][method]["scores"][score] for summary in found.values()]
            gaps = [estimate_of(entry["difference"]) for entry in scores]
            row += [moved(gap) for gap in (*gaps, together(gaps))]
        rows.append(row)
    return markdown.table([f"from `{against}`", *heads], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="One method against the others over several mixtures.")
    parser.add_argument("comparisons", nargs="+", type=Path, help="folders of comparisons")
    parser.add_argument("--against", default="live", help="the method that the others are compared with")
    chosen = parser.parse_args(arguments)
    try:
        found = {folder.name: read(folder, chosen.against) for folder in chosen.comparisons}
    except (RunError, ConfigError, GDROError) as error:
        print(f"mixtures: {error}", file=sys.stderr)
        return 2
    print(table(found, chosen.against), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
