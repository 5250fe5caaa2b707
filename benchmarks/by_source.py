"""Where a comparison's differences come from: pass@k and mean@k of every source, by method, means over seeds.

    python benchmarks/by_source.py docs/evidence/second --methods uniform live joint sec greso

A source whose pass@k falls while its mean@k rises is one that the model guesses: its answers grow alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gdro.core.errors import GDROError
from gdro.core.prompts import source_of
from gdro.lab import markdown
from gdro.lab.compare_plan import read_plan
from gdro.lab.compare_record import Comparison, read_comparison
from gdro.runs.config_base import ConfigError
from gdro.runs.errors import RunError


def table(comparison: Comparison, methods: Sequence[str]) -> str:
    """One row a source; in each cell pass@k / mean@k after the last step."""
    outcomes = {method: list(comparison.runs[method].values()) for method in methods}
    ids = outcomes[methods[0]][0].ids
    source = np.array([source_of(prompt_id) for prompt_id in ids])
    rows = []
    for name in sorted(set(source)):
        cells = []
        for method in methods:
            last = np.array([outcome.correct[-1] / outcome.samples for outcome in outcomes[method]])[:, source == name]
            cells.append(f"{(last > 0).mean():.3f} / {last.mean():.3f}")
        rows.append([name, *cells])
    return markdown.table(["source", *(f"`{method}`" for method in methods)], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Held-out pass@k / mean@k of every source, by method.")
    parser.add_argument("comparison", type=Path, help="folder of a comparison")
    parser.add_argument("--methods", nargs="+", help="only these (default: all)")
    chosen = parser.parse_args(arguments)
    try:
        comparison = read_comparison(chosen.comparison, read_plan(chosen.comparison / "compare.yaml"))
        there = [method for method, runs in comparison.runs.items() if runs]
        methods = chosen.methods or there
        for method in methods:
            if method not in there:
                raise RunError(f"--methods {method}: no finished run in {chosen.comparison}; it has {', '.join(there)}")
    except (RunError, ConfigError, GDROError) as error:
        print(f"by_source: {error}", file=sys.stderr)
        return 2
    print(table(comparison, methods), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
