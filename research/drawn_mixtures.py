"""Mixtures drawn at random: the plan of results/drawn_mixtures.

    python research/drawn_mixtures.py 9 32 > plan.yaml        # mixtures 9 to 32: the published plan
    gdro compare plan.yaml                                    # 120 runs of 100 seconds

Every mixture has the form of the default recipe's and nothing else of it: 13 of the base model's
own cells, drawn by the mixture's number alone; the five of them that the model solves most often
make 19 prompts in 20, evenly, the other eight one in 20; 16,384 prompts, 600 steps, 40 held-out
prompts of every cell. A mixture is run once, with its number as the seed. So mixtures, not seeds,
are what the intervals are over: what to expect of another one.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from gdro.lab.compare_plan import ComparisonPlan, plan_text
from gdro.tiny.mixture import DEFAULT_MIXTURE

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
"""The base model's mean@8 before training (research/difficulty.py), of cells that may be common."""
METHODS: dict[str, dict[str, Any] | None] = {
    "uniform": {"controller": "uniform"},
    "paced": {"controller": {"name": "live_gdro", "size_power": 0.25, "pace": 0.0005}},
    "sec": {"controller": {"name": "sec", "category": "prefix"}, "candidates": 64},
    "dump": {"controller": {"name": "dump", "category": "prefix"}, "candidates": 64},
    "adarft": {"controller": "adarft", "candidates": 64},
}


def cells_of(number: int) -> list[dict[str, Any]]:
    """The cells of one mixture, the common ones first."""
    pool = [cell for cell in DEFAULT_MIXTURE if cell.name not in SCARCE]
    chosen = np.random.default_rng(number).choice(len(pool), COMMON + TAIL, replace=False)
    drawn = [pool[place] for place in chosen]
    solved = sorted(
        (cell for cell in drawn if cell.name not in FEW), key=lambda cell: -SOLVED[cell.name]
    )
    common = solved[:COMMON]
    tail = [cell for cell in drawn if cell not in common]
    weights = [(cell, 100.0 * (1.0 - SHARE) / COMMON) for cell in common]
    weights += [(cell, 100.0 * SHARE / TAIL) for cell in tail]
    return [
        {"family": cell.family, "level": cell.level, "config": dict(cell.config), "weight": weight}
        for cell, weight in weights
    ]


def plan_of(first: int, last: int) -> ComparisonPlan:
    """The comparison on mixtures `first` to `last`."""
    numbers = range(first, last + 1)
    return ComparisonPlan(
        name="drawn_mixtures",
        about=(
            f"GRPO, the default run and three peers on mixtures {first} to {last} of those drawn at"
            " random"
        ),
        seeds=tuple(numbers),
        overrides={"eval_steps": 300, "save_steps": 300, "data.size": SIZE},
        by_seed=tuple({"seed": number, "data.cells": cells_of(number)} for number in numbers),
        methods=METHODS,
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=int, help="number of the first mixture")
    parser.add_argument("last", type=int, help="number of the last one")
    chosen = parser.parse_args(arguments)
    print(plan_text(plan_of(chosen.first, chosen.last)), end="")


if __name__ == "__main__":
    main()
