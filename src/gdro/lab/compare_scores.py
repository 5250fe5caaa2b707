"""A comparison in numbers: scores with intervals, differences from the baseline, costs, as plain
values.

Where all seeds were tested on the same prompts, intervals are over seeds and prompts
(`gdro.lab.stats`). Where each seed is a replicate with data of its own, a score is one number a
replicate, and intervals are Student's t over those.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gdro.core.passk import pass_at_k
from gdro.core.prompts import source_of
from gdro.core.types import Floats
from gdro.lab.compare_claims import verdicts
from gdro.lab.compare_plan import Plan
from gdro.lab.compare_record import Comparison, RunResult
from gdro.lab.stats import (
    Estimate,
    Resampled,
    area,
    base_bins,
    first_reach,
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
WORST_FAMILY = "worst_family"
"""The lowest mean@k of a family: sources with the same name up to their last `/`. Only where there
are two families or more."""
EQUAL_COSTS = ("tokens", "seconds")
AT_EQUAL_COST = ("pass_at_k", "mean_at_k", "worst_bin")
"""And every score that a claim of the plan is about."""
DIGITS = 10
"""Significant digits of a summary."""
DECIMALS = 13
"""Decimals to which it is rounded first: what comes after them depends on the order in which a
machine sums, and would otherwise decide ties and the sign of nothing."""


def summarize(comparison: Comparison) -> dict[str, Any]:
    """Everything that table, figure and page show; plain values to DIGITS digits, the same for the
    same record."""
    judge, plan = Judge(comparison), comparison.plan
    first = next(iter(comparison.runs[plan.against].values()))
    methods = {method: _method(judge, method) for method in comparison.runs if judge.curves(method)}
    summary = {
        "name": plan.name,
        "about": plan.about,
        "ran": plan.ran,
        "baseline": plan.against,
        "k": first.samples,
        "prompts": len(first.ids),
        "fresh_data": comparison.fresh_data,
        "seeds": list(plan.seeds),
        "steps": first.steps[-1],
        "bins": []
        if comparison.fresh_data
        else judge.bins_of(next(iter(comparison.runs[plan.against]))),
        "base": {
            name: judge.before_training(name) for name in judge.names if not name.startswith("area")
        },
        "methods": methods,
        "claims": verdicts(
            plan.claims, lambda c: judge.estimate(c.score, c.method, c.against), methods
        ),
        "missing": list(comparison.missing),
        "notes": list(comparison.notes),
        "at_equal_cost": list(at_equal_cost(plan, judge.names)),
    }
    return {key: rounded(value) for key, value in summary.items()}


def at_equal_cost(plan: Plan, names: Sequence[str]) -> tuple[str, ...]:
    """The scores that are read at equal cost: some always, and those of the plan's claims."""
    claimed = (claim.score for claim in plan.claims if claim.score in names)
    return tuple(dict.fromkeys((*AT_EQUAL_COST, *claimed)))


def rounded(value: Any) -> Any:
    """The same with every float inside to DIGITS significant digits, without what the order of
    summing adds."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(part) for part in value]
    return (
        float(f"{round(value, DECIMALS) + 0.0:.{DIGITS}g}") if isinstance(value, float) else value
    )


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

        Args:
            cost: compare where both had spent the same `tokens` or `seconds`, the less of their
                totals at each seed.
        """
        seeds = list(self._curves[method]) if against is None else self.paired(method, against)
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


def _method(judge: Judge, method: str) -> dict[str, Any]:
    against, plan = judge.against, judge.comparison.plan
    paired = judge.paired(method, against)
    controller = (plan.methods[method] or {}).get("controller")
    entry: dict[str, Any] = {
        "seeds": sorted(judge.curves(method)),
        "scores": {},
        "controller": controller,
    }
    for name in judge.names:
        score: dict[str, Any] = asdict(judge.estimate(name, method))
        if method != against and paired:
            gap = judge.estimate(name, method, against)
            before = judge.value(name, against, paired)
            score["difference"] = asdict(gap) | {
                "relative": gap.value / before if before > 0 else math.nan
            }
        entry["scores"][name] = score
    return (
        entry
        | _reach(judge, method)
        | _costs(judge, method)
        | {"at_equal_cost": _at_equal_cost(judge, method)}
    )


def _at_equal_cost(judge: Judge, method: str) -> dict[str, Any]:
    """Cost -> score -> the difference where both had spent the same; costs that are not known are
    left out."""
    if method == judge.against or not judge.paired(method, judge.against):
        return {}
    return {
        cost: {
            name: asdict(judge.estimate(name, method, judge.against, cost=cost))
            for name in at_equal_cost(judge.comparison.plan, judge.names)
        }
        for cost in EQUAL_COSTS
        if judge.costs_known(method, cost)
    }


def _reach(judge: Judge, method: str) -> dict[str, Any]:
    """The curves over rollouts; where they first reach the baseline's final score, and on how many
    seeds they do."""
    own, other = judge.curves(method), judge.curves(judge.against)
    rollouts = np.mean([run.result.rollouts for run in own.values()], axis=0).tolist()
    curves, reach = {}, {}
    for name in ("mean", "pass"):
        ours, theirs = (
            {
                seed: (run.mean if name == "mean" else run.passed).mean(axis=1)
                for seed, run in runs.items()
            }
            for runs in (own, other)
        )
        curves[name] = np.mean(list(ours.values()), axis=0).tolist()
        target = float(np.mean([curve[-1] for curve in theirs.values()]))
        reach[f"{name}_at_k"] = {
            "rollouts": first_reach(rollouts, curves[name], target),
            "seeds": sum(
                bool(ours[seed].max() >= theirs[seed][-1]) for seed in ours if seed in theirs
            ),
        }
    return {
        "curve": {"rollouts": rollouts, "mean_at_k": curves["mean"], "pass_at_k": curves["pass"]},
        "rollouts_to_baseline": reach,
    }


def _costs(judge: Judge, method: str) -> dict[str, Any]:
    runs = {seed: curves.result for seed, curves in judge.curves(method).items()}
    other = judge.comparison.runs[judge.against]
    gaps = [runs[seed].dead - other[seed].dead for seed in runs if seed in other]
    return {
        "dead_groups": asdict(seed_interval([run.dead for run in runs.values()]))
        | {"difference": asdict(seed_interval(gaps))},
        "training_reward": asdict(seed_interval([run.training_reward for run in runs.values()])),
        "rollouts": float(np.mean([run.rollouts[-1] for run in runs.values()])),
        "tokens": float(np.mean([run.tokens[-1] for run in runs.values()])),
        "trained_tokens": float(np.mean([run.trained_tokens[-1] for run in runs.values()])),
        "seconds": float(np.mean([run.seconds[-1] for run in runs.values()])),
    }
