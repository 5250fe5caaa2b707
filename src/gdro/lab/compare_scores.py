"""The scores of a comparison's methods, with intervals: alone, against another method, at equal
cost.

Where all seeds were tested on the same prompts, intervals are over seeds and prompts
(`gdro.lab.stats`). Where each seed is a replicate with data of its own, a score is one number a
replicate, and intervals are Student's t over those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gdro.core.passk import pass_at_k
from gdro.core.prompts import source_of
from gdro.core.types import Floats
from gdro.lab.compare_record import Comparison, RunResult
from gdro.lab.stats import (
    Estimate,
    Resampled,
    area,
    base_bins,
    hardest_share,
    interval,
    resampled,
    seed_interval,
)

HARDEST = 0.2
SCORES = (
    "pass_at_k",
    "mean_at_k",
    "source_pass",
    "source_mean",
    "worst_bin",
    "hardest_fifth",
    "worst_bin_pass",
    "hardest_fifth_pass",
    "area_pass",
    "area_mean",
)
BY_TRAINING = ("trained_pass", "trained_mean")
"""Scores in which a source counts by its training prompts; only where the held-out prompts have
other shares."""
BY_BASE = ("worst_bin", "hardest_fifth", "worst_bin_pass", "hardest_fifth_pass")
"""Scores of prompts that the base's own samples put together: what it scores on them with the same
samples is lower than what it would with fresh ones, so it is not shown."""
WORST_FAMILY = "worst_family"
"""The lowest mean@k of a family: sources with the same name up to their last `/`. Only where there
are two families or more."""


def family_members(ids: Sequence[str]) -> Floats:
    """(F, P) which prompts are of each family: `gcd/1` and `gcd/2` are of `gcd`; a source without
    a `/` is a family of its own."""
    sources = [source_of(i) for i in ids]
    names, family = np.unique([source_of(s) or s for s in sources], return_inverse=True)
    return np.equal.outer(np.arange(len(names)), family).astype(float)


def source_weights(ids: Sequence[str], sizes: Mapping[str, int] | None = None) -> Floats:
    """(1, P) weights of the prompts under which a source, an id up to its last `/`, counts by its
    size, or by 1."""
    names, source, held = np.unique(
        [source_of(i) for i in ids], return_inverse=True, return_counts=True
    )
    size = np.array([1 if sizes is None else sizes[name] for name in names])
    return np.asarray((size / held)[source])[None]


@dataclass(frozen=True)
class _Curves:
    """One run: (E, P) mean@k and pass@k of each prompt at each evaluation, and what it had cost by
    then."""

    result: RunResult
    mean: Floats
    passed: Floats

    @classmethod
    def of(cls, result: RunResult) -> _Curves:
        passed = pass_at_k(
            np.full(result.correct.shape, result.samples), result.correct, result.samples
        )
        return cls(result, result.correct / result.samples, passed)

    def prompts(self, score: str, at: float = -1, cost: str = "") -> Floats:
        """(P,) what a score averages: at the end, at the evaluation `at`, or where `cost` had
        reached `at`."""
        curve = self.passed if "pass" in score else self.mean
        if score.startswith("area"):
            return area(self.result.rollouts, curve)
        if not cost:
            return np.asarray(curve[int(at)])
        spent = np.array(getattr(self.result, cost))
        place = int(np.clip(np.searchsorted(spent, at) - 1, 0, len(spent) - 2))
        share = (at - spent[place]) / (spent[place + 1] - spent[place])
        return np.asarray(curve[place] + share * (curve[place + 1] - curve[place]))


@dataclass
class Judge:
    """Scores of a comparison's methods, with intervals.

    Attributes:
        names: the scores there are.
    """

    comparison: Comparison
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        runs, fresh = self.comparison.runs, self.comparison.fresh_data
        self._curves = {
            # with data of its own, a seed says nothing without the baseline's run on the same
            # prompts
            method: {
                seed: _Curves.of(result)
                for seed, result in by_seed.items()
                if not fresh or seed in runs[self.against]
            }
            for method, by_seed in runs.items()
        }
        ids = next(iter(runs[self.against].values())).ids
        self.names = (
            *SCORES,
            *(BY_TRAINING if self.comparison.training_sizes else ()),
            *((WORST_FAMILY,) if len(family_members(ids)) > 1 else ()),
        )
        self._groups: dict[int, dict[str, Floats]] = {}
        self._resampled: dict[tuple[Any, ...], Resampled] = {}

    @property
    def against(self) -> str:
        """The baseline."""
        return self.comparison.plan.against

    def paired(self, method: str, against: str) -> list[int]:
        """Seeds that both have."""
        return [seed for seed in self._curves[method] if seed in self._curves[against]]

    def curves(self, method: str) -> dict[int, _Curves]:
        """Seed -> the run's curves."""
        return self._curves[method]

    def estimate(
        self, score: str, method: str, against: str | None = None, *, cost: str = ""
    ) -> Estimate:
        """A method's score, or its difference from another's on the seeds that both have.

        Without a seed that both have it is NaN.

        Args:
            cost: compare where both had spent the same `tokens` or `seconds`, the less of their
                totals at each seed.
        """
        seeds = list(self._curves[method]) if against is None else self.paired(method, against)
        if not seeds:
            return seed_interval([])
        at = (
            {seed: self._equal(seed, method, against, cost) for seed in seeds}
            if cost and against
            else {}
        )
        if self.comparison.fresh_data:
            own = [self._value(score, method, seed, at.get(seed, -1), cost) for seed in seeds]
            if against is None:
                return seed_interval(own)
            other = [self._value(score, against, seed, at.get(seed, -1), cost) for seed in seeds]
            return seed_interval(np.subtract(own, other))
        sampled = self._sample(score, method, seeds, at, cost)
        return interval(
            sampled, None if against is None else self._sample(score, against, seeds, at, cost)
        )

    def value(self, score: str, method: str, seeds: Sequence[int], at: int = -1) -> float:
        """The score without an interval."""
        if self.comparison.fresh_data:
            return float(np.mean([self._value(score, method, seed, at) for seed in seeds]))
        table = np.array([self._curves[method][seed].prompts(score, at) for seed in seeds])
        return float(_weighted(table, self._weights(score, seeds[0])))

    def before_training(self, score: str) -> float:
        """The baseline's score at the first evaluation."""
        return self.value(score, self.against, list(self._curves[self.against]), at=0)

    def costs_known(self, method: str, cost: str) -> bool:
        """Whether the runs that can be paired with the baseline say what each evaluation had cost,
        rising."""
        runs = [
            self._curves[m][s].result
            for m in (method, self.against)
            for s in self.paired(method, self.against)
        ]
        return bool(runs) and all((np.diff(getattr(run, cost)) > 0).all() for run in runs)

    def bins_of(self, seed: int) -> list[dict[str, int]]:
        """The bins of success rate before training that count for the worst tier: number and
        prompts."""
        bins, members = base_bins(self._base(seed))
        return [{"bin": b, "prompts": int(row.sum())} for b, row in zip(bins, members, strict=True)]

    def _equal(self, seed: int, method: str, against: str, cost: str) -> float:
        return min(
            float(getattr(self._curves[m][seed].result, cost)[-1]) for m in (method, against)
        )

    def _sample(
        self, score: str, method: str, seeds: Sequence[int], at: Mapping[int, float], cost: str
    ) -> Resampled:
        key = (score, method, tuple(seeds), tuple(at.items()), cost)
        if key not in self._resampled:
            table = [
                self._curves[method][seed].prompts(score, at.get(seed, -1), cost) for seed in seeds
            ]
            self._resampled[key] = resampled(table, self._weights(score, seeds[0]))
        return self._resampled[key]

    def _value(self, score: str, method: str, seed: int, at: float = -1, cost: str = "") -> float:
        """One replicate's score."""
        table = self._curves[method][seed].prompts(score, at, cost)[None]
        return float(_weighted(table, self._weights(score, seed)))

    def _base(self, seed: int) -> Floats:
        """(P,) success rate of each held-out prompt before training: over all seeds of the
        baseline, or this one's."""
        runs = self._curves[self.against]
        chosen = [runs[seed]] if self.comparison.fresh_data else list(runs.values())
        return np.asarray(np.mean([run.mean[0] for run in chosen], axis=0))

    def _weights(self, score: str, seed: int) -> Floats | None:
        """(G, P) weights of the prompts in each group of a score; None: one group of all."""
        key = seed if self.comparison.fresh_data else -1
        if key not in self._groups:
            base, ids = self._base(seed), self._curves[self.against][seed].result.ids
            members, hardest, alike = (
                base_bins(base)[1],
                hardest_share(base, HARDEST)[None],
                source_weights(ids),
            )
            self._groups[key] = {
                "worst_bin": members,
                "worst_bin_pass": members,
                "hardest_fifth": hardest,
                "hardest_fifth_pass": hardest,
                "source_pass": alike,
                "source_mean": alike,
                WORST_FAMILY: family_members(ids),
            }
            if self.comparison.training_sizes:
                trained = source_weights(ids, self.comparison.training_sizes[seed])
                self._groups[key] |= dict.fromkeys(BY_TRAINING, trained)
        return self._groups[key].get(score)


def _weighted(table: Floats, weights: Floats | None) -> float:
    """The lowest mean of a (S, P) table over the groups."""
    groups = np.ones((1, table.shape[1])) if weights is None else weights
    return float(((table.sum(axis=0) @ groups.T) / (len(table) * groups.sum(axis=1))).min())
