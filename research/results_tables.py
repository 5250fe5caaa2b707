"""The default run against GRPO and against SEC, the strongest peer, on everything that all three were trained on.

    python benchmarks/at_a_glance.py docs/evidence           the two tables that docs/evidence.md begins with
    python benchmarks/at_a_glance.py docs/evidence --readme  the README's

One row a comparison: differences with their 95 % intervals, over prompts and seeds; of the mixtures drawn at random,
over mixtures, those by which nothing was decided.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from comparisons import read
from headline import short

from gdro.lab import markdown
from gdro.lab.compare_table import estimate_of, moved

OURS = "paced"
OTHERS = {"uniform": "GRPO", "sec": "SEC"}


class Where(NamedTuple):
    """What a row is about, and the heading of docs/evidence.md with the whole of it."""

    linked: str
    rest: str
    anchor: str


COMPARISONS = {
    "confirm_first": Where("first mixture", "5 seeds", "the-first-mixture-19-prompts-in-20-are-soon-solved"),
    "repeat_first": Where("the same again", "10 more seeds", "ten-more-seeds"),
    "spread_first": Where("and again", "5 more seeds", "twice-the-prompts-two-rollouts-of-each"),
    "small_steps": Where("and once more", "5 more seeds", "four-times-as-many-steps-of-a-quarter-of-the-size"),
    "larger": Where("the same, a model of 36 M", "5 seeds", "a-model-forty-times-as-large"),
    "drawn": Where("mixtures of its form, drawn at random", "24 of them", "mixtures-drawn-at-random"),
    "confirm_second": Where(
        "second mixture: half of the tail is guessed, few prompts",
        "5 seeds",
        "the-second-mixture-half-of-the-tail-is-guessed-few-prompts-that-come-again",
    ),
    "confirm_third": Where(
        "third mixture: the second's cells, many prompts",
        "5 seeds",
        "the-third-mixture-the-seconds-cells-prompts-that-do-not-come-again",
    ),
}
SCORES = {
    "pass_at_k": "pass@8",
    "mean_at_k": "mean@8",
    "worst_bin": "worst bin",
    "trained_mean": "mean@8, shares of training",
}

Scores = Mapping[str, Mapping[str, Any]]
"""Score -> the other method's `value`, and `difference` from it."""


def scores_of(folder: Path, against: str) -> Scores:
    """What a comparison, or the means over drawn mixtures, say of the default run against a method."""
    if folder.name == "drawn":
        entries = json.loads((folder / "means.json").read_text(encoding="utf-8"))
        wanted = {"method": OURS, "against": against, "mixtures": "9 to 32"}
        return next(entry["scores"] for entry in entries if wanted.items() <= entry.items())
    methods = read(folder, against, [against, OURS])["methods"]
    other, ours = methods[against]["scores"], methods[OURS]["scores"]
    return {score: {"value": other[score]["value"], "difference": ours[score]["difference"]} for score in SCORES}


def relative(score: str, entry: Mapping[str, Any]) -> str:
    """A gain as a user says it: pass@8 and mean@8 in per cent, the worst bin as a factor."""
    ratio = 1.0 + entry["difference"]["value"] / entry["value"]
    if score == "worst_bin":
        return f", x {ratio:.1f}"
    return "" if score == "trained_mean" else f", {100 * (ratio - 1):+.1f} %"


def table(root: Path, against: str, page: str = "") -> str:
    """One row a comparison; from GRPO in per cent too.

    Args:
        page: what the links lead to, before their anchor: "" on the page itself.
    """
    rows = []
    for name, where in COMPARISONS.items():
        scores = scores_of(root / name, against)
        row = [f"[{where.linked}]({page}#{where.anchor}), {where.rest}"]
        for score in SCORES:
            difference = short(moved(estimate_of(scores[score]["difference"])))
            row.append(difference + (relative(score, scores[score]) if against == "uniform" else ""))
        rows.append(row)
    return markdown.table([f"gdro - {OTHERS[against]}", *SCORES.values()], rows)


def tables(root: Path, *, readme: bool) -> Iterator[str]:
    """The tables of a page."""
    if readme:
        yield table(root, "uniform", "docs/evidence.md")
    else:
        yield from (table(root, other) for other in OTHERS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="The default run against GRPO and against SEC, everywhere.")
    parser.add_argument("evidence", type=Path, help="folder of the published comparisons, docs/evidence")
    parser.add_argument("--readme", action="store_true", help="the README's table: against GRPO alone")
    chosen = parser.parse_args(arguments)
    print("\n".join(tables(chosen.evidence, readme=chosen.readme)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
