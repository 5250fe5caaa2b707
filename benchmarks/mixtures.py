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

from gdro.core.errors import GDROError
from gdro.lab.compare_plan import jobs_of, read_plan
from gdro.lab.compare_record import read_comparison
from gdro.lab.compare_table import summarize, titles
from gdro.runs.config_base import ConfigError
from gdro.runs.config_prompts import training_sizes
from gdro.runs.errors import RunError

SCORES = ("pass_at_k", "mean_at_k")


def summary_of(folder: Path, against: str) -> dict[str, Any]:
    """A comparison's summary with another baseline.

    Raises:
        RunError: the comparison has no such method.
    """
    plan = read_plan(folder / "compare.yaml")
    if against not in plan.methods:
        raise RunError(f"--against {against}: not in {folder}; it has {', '.join(plan.methods)}")
    sizes = training_sizes(jobs_of(plan, folder)[0].config.data)
    return summarize(read_comparison(folder, plan.model_copy(update={"baseline": against}), sizes))


def together(gaps: Sequence[dict[str, float]]) -> tuple[float, float]:
    """Mean and half width of independent differences."""
    halves = [gap["high"] - gap["value"] for gap in gaps]
    return sum(gap["value"] for gap in gaps) / len(gaps), math.hypot(*halves) / len(gaps)


def shown(value: float, half: float) -> str:
    """A difference, bold where its interval leaves 0 out."""
    clear = "**" if abs(value) > half else ""
    return f"{clear}{value:+.3f} ± {half:.3f}{clear}"


def table(found: dict[str, dict[str, Any]], against: str) -> str:
    """One row a method: its differences from `against`, score by score."""
    first = next(iter(found.values()))
    methods = [
        m for m in first["methods"] if m != against and all(m in summary["methods"] for summary in found.values())
    ]
    names = titles(first["k"])
    heads = [f"{names[score]}: {place}" for score in SCORES for place in (*found, "mean")]
    lines = [f"| from `{against}` | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    for method in methods:
        row = [f"`{method}`"]
        for score in SCORES:
            gaps = [summary["methods"][method]["scores"][score]["difference"] for summary in found.values()]
            row += [shown(gap["value"], gap["high"] - gap["value"]) for gap in gaps] + [shown(*together(gaps))]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="One method against the others over several mixtures.")
    parser.add_argument("comparisons", nargs="+", type=Path, help="folders of comparisons")
    parser.add_argument("--against", default="live", help="the method that the others are compared with")
    chosen = parser.parse_args(arguments)
    try:
        found = {folder.name: summary_of(folder, chosen.against) for folder in chosen.comparisons}
    except (RunError, ConfigError, GDROError) as error:
        print(f"mixtures: {error}", file=sys.stderr)
        return 2
    print(table(found, chosen.against), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
