"""Figures of the suites: mean@k and pass@k with intervals, for each suite and averaged over
suites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.passk import Interval, bootstrap, mean_at_k, pass_at_k
from gdro.core.types import Floats

RESAMPLES = 2000


def figures(correct: ArrayLike, samples: int) -> dict[str, Any]:
    """One suite's figures from (M,) correct answers out of `samples` each; mean@k and pass@k with k
    = samples."""
    counts = np.asarray(correct)
    return {
        "prompts": int(counts.size),
        "mean_at_k": as_json(bootstrap(mean_at_k(samples, counts))),
        "pass_at_k": as_json(bootstrap(pass_at_k(samples, counts, samples))),
    }


def aggregate(correct: Mapping[str, ArrayLike], samples: int) -> dict[str, Any]:
    """The average over suites, each counting once, with intervals from problems drawn anew within
    each suite."""
    mean = [mean_at_k(samples, counts) for counts in correct.values()]
    passed = [pass_at_k(samples, counts, samples) for counts in correct.values()]
    return {
        "suites": len(correct),
        "prompts": sum(values.size for values in mean),
        "mean_at_k": as_json(bootstrap_average(mean)),
        "pass_at_k": as_json(bootstrap_average(passed)),
    }


def bootstrap_average(groups: list[Floats], *, level: float = 0.95, seed: int = 0) -> Interval:
    """Mean of the groups' means, with a percentile interval; the members of each group are drawn
    anew."""
    generator = np.random.default_rng(seed)
    draws = [
        values[generator.integers(0, values.size, size=(RESAMPLES, values.size))].mean(axis=1)
        for values in groups
    ]
    low, high = np.quantile(np.mean(draws, axis=0), [(1 - level) / 2, (1 + level) / 2])
    value = float(np.mean([values.mean() for values in groups]))
    return Interval(value, float(low), float(high), sum(values.size for values in groups))


def as_json(interval: Interval) -> dict[str, float]:
    """`value`, `low` and `high`, rounded as in a run's record."""
    return {name: round(value, 6) for name, value in asdict(interval).items() if name != "prompts"}
