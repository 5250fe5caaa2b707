"""The README's table, from a published comparison.

    python benchmarks/headline.py docs/evidence/confirm_first

Scores of the base model, GRPO, Live-GDRO and three peers, with differences from GRPO and their 95 % intervals.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdro.lab import markdown
from gdro.lab.compare_table import cell

METHODS = {"uniform": "GRPO", "paced": "**gdro** (`gdro train`)", "sec": "SEC", "dump": "DUMP", "adarft": "AdaRFT"}
SCORES = {
    "pass_at_k": "pass@8",
    "mean_at_k": "mean@8",
    "trained_pass": "pass@8, shares of training",
    "trained_mean": "mean@8, shares of training",
    "worst_bin": "mean@8 of the worst bin",
    "hardest_fifth": "mean@8 of the hardest fifth",
}


def short(text: str) -> str:
    """Without the 0 before each point."""
    return text.replace("0.", ".")


def table(results: dict[str, Any]) -> str:
    """One row a score, one column a method."""
    methods = [results["methods"][name] for name in METHODS]
    rows = [
        [title, short(f"{results['base'][key]:.3f}"), *(short(cell(method["scores"][key])) for method in methods)]
        for key, title in SCORES.items()
    ]
    spent = [method["rollouts_to_baseline"]["mean_at_k"]["rollouts"] for method in methods]
    reached = [f"{rollouts:,.0f}" if math.isfinite(rollouts) else "not reached" for rollouts in spent]
    rows.append(["rollouts to GRPO's final mean@8", "–", *reached])
    return markdown.table(["520 held-out prompts x 8 samples", "base", *METHODS.values()], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The README's table, from a published comparison.")
    parser.add_argument("comparison", type=Path, help="folder of a comparison, e.g. docs/evidence/confirm_first")
    folder: Path = parser.parse_args(arguments).comparison
    path = folder / "results.json"
    if not path.is_file():
        print(f"headline: {path} is not there; make it with: gdro compare {folder} --report", file=sys.stderr)
        return 2
    print(table(json.loads(path.read_text(encoding="utf-8"))), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
