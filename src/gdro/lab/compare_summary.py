"""A comparison in numbers: scores, differences from the baseline, costs and claims, as plain values
for table, figure and page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gdro.lab.compare_claims import verdicts
from gdro.lab.compare_plan import ComparisonPlan
from gdro.lab.compare_record import Comparison
from gdro.lab.compare_scores import BY_BASE, Judge
from gdro.lab.stats import first_reach, seed_interval

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
            name: judge.before_training(name)
            for name in judge.names
            if not name.startswith("area") and name not in BY_BASE
        },
        "methods": methods,
        "claims": verdicts(
            plan.claims,
            lambda c: judge.estimate(c.score, c.method, c.against),
            lambda c: judge.value(c.score, c.against, judge.paired(c.method, c.against)),
            methods,
        ),
        "missing": list(comparison.missing),
        "notes": list(comparison.notes),
        "at_equal_cost": list(at_equal_cost(plan, judge.names)),
    }
    return {key: rounded(value) for key, value in summary.items()}


def at_equal_cost(plan: ComparisonPlan, names: Sequence[str]) -> tuple[str, ...]:
    """The scores that are read at equal cost: some always, and those of the plan's claims; an area
    is over all rollouts."""
    claimed = (claim.score for claim in plan.claims if claim.score in names)
    alike = (*AT_EQUAL_COST, *claimed)
    return tuple(dict.fromkeys(name for name in alike if not name.startswith("area")))


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
