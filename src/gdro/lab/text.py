"""Words that the laboratory's commands share: Markdown tables, numbers with intervals,
arguments."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence

from gdro.lab.stats import Estimate


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table that ends in a newline: the first column to the left, all others to the
    right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def estimate_of(entry: Mapping[str, float]) -> Estimate:
    """An estimate as a summary writes it."""
    return Estimate(entry["value"], entry["low"], entry["high"])


def moved(gap: Estimate) -> str:
    """`**+0.031 ± 0.012**`, bold where the interval leaves 0 out."""
    mark, half = "**" if gap.clear else "", gap.high - gap.value
    return f"{mark}{gap.value:+.3f}{'' if math.isnan(half) else f' ± {half:.3f}'}{mark}"


def cell(score: Mapping[str, object]) -> str:
    """A score of a summary as `0.512 (**+0.031 ± 0.012**)`."""
    value, gap = score["value"], score.get("difference")
    return (
        f"{value:.3f} ({moved(estimate_of(gap))})" if isinstance(gap, Mapping) else f"{value:.3f}"
    )


def at_least_one(text: str) -> int:
    """A command-line argument: a whole number of at least 1; anything else is argparse's error."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)
