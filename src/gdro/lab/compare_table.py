"""A comparison in numbers: scores with intervals, differences from the baseline, costs; as JSON and Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gdro.core.passk import pass_at_k
from gdro.core.prompts import source_of
from gdro.core.types import Floats
from gdro.lab.compare_outcome import Outcome
from gdro.lab.compare_record import Comparison, base_rates
from gdro.lab.markdown import table
from gdro.lab.stats import Estimate, area, base_bins, first_reach, hardest_share, paired_interval, seed_interval

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
"""Scores in which a source counts by its training prompts; only where the held-out prompts have other shares."""


def shown(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores of the table. Sources alike and as in training: whichever of them the plain mean is not."""
    other = BY_TRAINING if BY_TRAINING[0] in summary["base"] else ("source_pass", "source_mean")
    return ("pass_at_k", "mean_at_k", *other, "worst_bin", "hardest_fifth", "area_pass")


DIGITS = 10
"""Significant digits of a summary."""
DECIMALS = 13
"""Decimals to which it is rounded first: what comes after them depends on the order in which a machine sums, and would
otherwise decide ties and the sign of nothing."""


def titles(k: int) -> dict[str, str]:
    """What each score is called, with k samples a prompt."""
    return {
        "pass_at_k": f"pass@{k}",
        "mean_at_k": f"mean@{k}",
        "source_pass": f"pass@{k}, sources alike",
        "source_mean": f"mean@{k}, sources alike",
        "trained_pass": f"pass@{k}, shares of training",
        "trained_mean": f"mean@{k}, shares of training",
        "worst_bin": "pass@1, worst bin",
        "hardest_fifth": "pass@1, hardest fifth",
        "worst_bin_pass": f"pass@{k}, worst bin",
        "hardest_fifth_pass": f"pass@{k}, hardest fifth",
        "area_pass": f"area, pass@{k}",
        "area_mean": f"area, mean@{k}",
    }


def summarize(comparison: Comparison) -> dict[str, Any]:
    """Everything that table, figure and page show; plain values to DIGITS digits, the same for the same record."""
    base, plan = base_rates(comparison), comparison.plan
    first = next(iter(comparison.runs[plan.against].values()))
    bins, members = base_bins(base)
    alike = source_weights(first.ids)
    groups = {
        "source_pass": alike,
        "source_mean": alike,
        "worst_bin": members,
        "worst_bin_pass": members,
        "hardest_fifth": hardest_share(base, HARDEST)[None],
        "hardest_fifth_pass": hardest_share(base, HARDEST)[None],
    }
    names: tuple[str, ...] = SCORES
    if comparison.training_sizes:
        groups |= dict.fromkeys(BY_TRAINING, source_weights(first.ids, comparison.training_sizes))
        names = (*SCORES, *BY_TRAINING)
    tables = {
        method: {seed: _tables(outcome) for seed, outcome in by_seed.items()}
        for method, by_seed in comparison.runs.items()
        if by_seed
    }
    summary = {
        "name": plan.name,
        "about": plan.about,
        "baseline": plan.against,
        "k": first.samples,
        "prompts": len(first.ids),
        "seeds": list(plan.seeds),
        "steps": first.steps[-1],
        "bins": [{"bin": b, "prompts": int(row.sum())} for b, row in zip(bins, members, strict=True)],
        "base": {
            name: _base_score(name, tables[plan.against], groups) for name in names if not name.startswith("area")
        },
        "methods": {
            method: _method(comparison, method, tables, groups, names) for method in comparison.runs if method in tables
        },
        "missing": list(comparison.missing),
        "notes": list(comparison.notes),
    }
    return {key: _rounded(value) for key, value in summary.items()}


def _rounded(value: Any) -> Any:
    """The same with every float inside to DIGITS significant digits, without what the order of summing adds."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(part) for part in value]
    return float(f"{round(value, DECIMALS) + 0.0:.{DIGITS}g}") if isinstance(value, float) else value


def source_weights(ids: Sequence[str], sizes: Mapping[str, int] | None = None) -> Floats:
    """(1, P) weights of the prompts under which a source, an id up to its last `/`, counts by its size, or by 1."""
    names, source, held = np.unique([source_of(i) for i in ids], return_inverse=True, return_counts=True)
    size = np.array([1 if sizes is None else sizes[name] for name in names])
    return np.asarray((size / held)[source])[None]


def _tables(outcome: Outcome) -> dict[str, Floats]:
    """Scores of each prompt in one run: (E, P) mean and pass, (P,) their areas."""
    mean = outcome.correct / outcome.samples
    passed = pass_at_k(np.full(outcome.correct.shape, outcome.samples), outcome.correct, outcome.samples)
    return {
        "mean": mean,
        "pass": passed,
        "area_mean": area(outcome.rollouts, mean),
        "area_pass": area(outcome.rollouts, passed),
    }


def _score(name: str, tables: Sequence[Mapping[str, Floats]], at: int = -1) -> Floats:
    """(S, P) what a score averages."""
    if name.startswith("area"):
        return np.array([table[name] for table in tables])
    return np.array([table["pass" if "pass" in name else "mean"][at] for table in tables])


def _base_score(name: str, tables: Mapping[int, Mapping[str, Floats]], groups: Mapping[str, Floats]) -> float:
    return paired_interval(_score(name, list(tables.values()), at=0), None, groups.get(name)).value


def _method(
    comparison: Comparison,
    method: str,
    tables: Mapping[str, Mapping[int, Mapping[str, Floats]]],
    groups: Mapping[str, Floats],
    names: Sequence[str],
) -> dict[str, Any]:
    baseline = comparison.plan.against
    own, other = tables[method], tables[baseline]
    paired = [seed for seed in own if seed in other]
    entry: dict[str, Any] = {"seeds": sorted(own), "scores": {}, "controller": _settings(comparison, method)}
    for name in names:
        score: dict[str, Any] = asdict(paired_interval(_score(name, list(own.values())), None, groups.get(name)))
        if method != baseline and paired:
            ours, theirs = (_score(name, [part[seed] for seed in paired]) for part in (own, other))
            gap = paired_interval(ours, theirs, groups.get(name))
            before = score_value(theirs, groups.get(name))
            score["difference"] = asdict(gap) | {"relative": gap.value / before if before > 0 else math.nan}
        entry["scores"][name] = score
    return entry | _reach(comparison, method, own, other) | _costs(comparison, method)


def score_value(scores: Floats, groups: Floats | None) -> float:
    """The score without an interval."""
    return paired_interval(scores, None, groups).value


def _settings(comparison: Comparison, method: str) -> Any:
    return (comparison.plan.methods[method] or {}).get("controller")


def _reach(
    comparison: Comparison,
    method: str,
    own: Mapping[int, Mapping[str, Floats]],
    other: Mapping[int, Mapping[str, Floats]],
) -> dict[str, Any]:
    """The curves over rollouts; where they first reach the baseline's final score, and on how many seeds they do."""
    rollouts = np.mean([outcome.rollouts for outcome in comparison.runs[method].values()], axis=0).tolist()
    curves = {
        name: np.mean([table[name].mean(axis=1) for table in own.values()], axis=0).tolist()
        for name in ("mean", "pass")
    }
    reach = {}
    for name, curve in curves.items():
        target = float(np.mean([table[name][-1].mean() for table in other.values()]))
        best = {seed: own[seed][name].mean(axis=1).max() for seed in own if seed in other}
        reach[f"{name}_at_k"] = {
            "rollouts": first_reach(rollouts, curve, target),
            "seeds": sum(bool(value >= other[seed][name][-1].mean()) for seed, value in best.items()),
        }
    return {
        "curve": {"rollouts": list(rollouts), "mean_at_k": curves["mean"], "pass_at_k": curves["pass"]},
        "rollouts_to_baseline": reach,
    }


def _costs(comparison: Comparison, method: str) -> dict[str, Any]:
    outcomes = comparison.runs[method]
    other = comparison.runs[comparison.plan.against]
    dead = [(outcomes[seed].dead, other[seed].dead) for seed in outcomes if seed in other]
    return {
        "dead_groups": asdict(seed_interval([outcome.dead for outcome in outcomes.values()]))
        | {"difference": asdict(seed_interval([ours - theirs for ours, theirs in dead]))},
        "rollouts": float(np.mean([outcome.rollouts[-1] for outcome in outcomes.values()])),
        "gradient_variance": asdict(seed_interval([outcome.gradient for outcome in outcomes.values()])),
        "tokens": float(np.mean([outcome.tokens for outcome in outcomes.values()])),
        "seconds": float(np.mean([outcome.seconds for outcome in outcomes.values()])),
    }


def markdown(summary: Mapping[str, Any]) -> str:
    """Two tables: what was learnt, with differences from the baseline; and what it took."""
    names, methods, k = titles(summary["k"]), summary["methods"], summary["k"]
    columns = shown(summary)
    before = [f"{summary['base'][name]:.3f}" if name in summary["base"] else "–" for name in columns]
    learnt = [["*before training*", "", *before]]
    for method, entry in methods.items():
        cells = [cell(entry["scores"][name]) for name in columns]
        learnt.append([f"`{method}`", str(len(entry["seeds"])), *cells])
    reach = [f"rollouts to the baseline's {score}@{k}" for score in ("mean", "pass")]
    costs = ["method", *reach, "groups without gradient", "gradient variance", "rollouts", "tokens", "seconds"]
    spent = [[f"`{method}`", *cost_cells(entry)] for method, entry in methods.items()]
    tables = [table(["method", "seeds", *(names[name] for name in columns)], learnt), table(costs, spent)]
    told = [f"Missing: {', '.join(summary['missing'])}."] if summary["missing"] else []
    return "\n".join([*tables, caption(summary), *(f"\n{note}" for note in (*told, *summary["notes"]))]) + "\n"


def caption(summary: Mapping[str, Any]) -> str:
    """How to read the table."""
    bins = "; bin (prompts): " + ", ".join(f"{part['bin']} ({part['prompts']})" for part in summary["bins"])
    bins = bins if summary["bins"][0]["bin"] >= 0 else "; there is none, so it is the mean"
    return (
        f"{summary['prompts']} held-out prompts, {summary['k']} samples each, after {summary['steps']} steps. In "
        f"brackets: difference from `{summary['baseline']}`, paired by seed and prompt, with a 95 % interval; "
        "bold where it leaves 0 out (not adjusted for the number of methods). Worst bin: the lowest of the bins of "
        f"success rate before training that hold 8 prompts or more{bins}. {_told_of_sources(summary)} "
        "Area: mean height of the curve over rollouts."
    )


def _told_of_sources(summary: Mapping[str, Any]) -> str:
    if BY_TRAINING[0] in summary["base"]:
        return (
            "The held-out prompts are as many from each source (ids up to the last /); shares of training: the mean "
            "over sources in which each counts by its training prompts."
        )
    return (
        "Sources alike: the mean over sources (ids up to the last /) of their prompts' mean, however many there are "
        "of each."
    )


def cell(score: Mapping[str, Any]) -> str:
    """`0.512 (**+0.031 ± 0.012**)`."""
    if "difference" not in score:
        return f"{score['value']:.3f}"
    return f"{score['value']:.3f} ({moved(estimate_of(score['difference']))})"


def estimate_of(entry: Mapping[str, float]) -> Estimate:
    """An estimate as a summary writes it."""
    return Estimate(entry["value"], entry["low"], entry["high"])


def moved(gap: Estimate) -> str:
    """`**+0.031 ± 0.012**`, bold where the interval leaves 0 out."""
    mark, half = "**" if gap.clear else "", gap.high - gap.value
    return f"{mark}{gap.value:+.3f}{'' if math.isnan(half) else f' ± {half:.3f}'}{mark}"


def cost_cells(entry: Mapping[str, Any]) -> list[str]:
    """Rollouts to the baseline's score, dead groups, gradient variance, rollouts, tokens and seconds, as text."""
    dead = entry["dead_groups"]["value"]
    return [
        *(_reached(entry["rollouts_to_baseline"][name], len(entry["seeds"])) for name in ("mean_at_k", "pass_at_k")),
        "–" if math.isnan(dead) else f"{100 * dead:.1f} %",
        _variance(entry["gradient_variance"]),
        f"{entry['rollouts']:,.0f}",
        f"{entry['tokens']:,.0f}",
        f"{entry['seconds']:,.0f}",
    ]


def _reached(reach: Mapping[str, Any], seeds: int) -> str:
    at = reach["rollouts"]
    where = "before training" if at == 0.0 else f"{at:,.0f}" if math.isfinite(at) else "not reached"
    return f"{where} ({reach['seeds']} of {seeds} seeds)"


def _variance(ratio: Mapping[str, Any]) -> str:
    if math.isnan(ratio["value"]):
        return "–"
    half = ratio["high"] - ratio["value"]
    return f"x {ratio['value']:.2f}{'' if math.isnan(half) else f' ± {half:.2f}'}"
