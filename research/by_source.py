"""Where a comparison's differences come from: pass@k and mean@k of every source, by method, means
over seeds.

    python research/by_source.py results/second_grid --methods uniform live joint sec greso

A source whose pass@k falls while its mean@k rises is one that the model guesses: its answers grow
alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gdro.core.errors import GDROError, RunError
from gdro.core.prompts import source_of
from gdro.lab.compare_archive import load_archive
from gdro.lab.compare_record import Comparison
from gdro.lab.text import table as markdown_table


def table(comparison: Comparison, methods: Sequence[str]) -> str:
    """One row a source; in each cell pass@k / mean@k after the last step."""
    outcomes = {method: list(comparison.runs[method].values()) for method in methods}
    ids = outcomes[methods[0]][0].ids
    source = np.array([source_of(prompt_id) for prompt_id in ids])
    rows = []
    for name in sorted(set(source)):
        cells = []
        for method in methods:
            last = np.array(
                [outcome.correct[-1] / outcome.samples for outcome in outcomes[method]]
            )[:, source == name]
            cells.append(f"{(last > 0).mean():.3f} / {last.mean():.3f}")
        rows.append([name, *cells])
    return markdown_table(["source", *(f"`{method}`" for method in methods)], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description="Held-out pass@k / mean@k of every source, by method."
    )
    parser.add_argument("comparison", type=Path, help="folder of a published comparison")
    parser.add_argument("--methods", nargs="+", help="only these (default: all)")
    chosen = parser.parse_args(arguments)
    try:
        comparison = load_archive(chosen.comparison)
        there = [method for method, runs in comparison.runs.items() if runs]
        methods = chosen.methods or there
        for method in methods:
            if method not in there:
                raise RunError(
                    f"--methods {method}: no finished run in {chosen.comparison}; it has"
                    f" {', '.join(there)}"
                )
    except GDROError as error:
        print(f"by_source: {error}", file=sys.stderr)
        return 2
    print(table(comparison, methods), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
