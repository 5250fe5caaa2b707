"""A comparison's numbers as Markdown: what was learnt, what it took, and what the plan's claims
came to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gdro.lab.compare_scores import BY_TRAINING, WORST_FAMILY
from gdro.lab.compare_summary import EQUAL_COSTS
from gdro.lab.text import cell, estimate_of, moved, table

COST_TITLES = {
    "rollouts": "rollouts",
    "tokens": "tokens",
    "trained_tokens": "trained tokens",
    "seconds": "seconds",
}
"""What a method spent, and the column's title."""

FEW_SEEDS = 4


def shown(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores of the table. Sources alike and as in training: whichever of them the plain mean
    is not. Scores of claims, whatever they are."""
    other = BY_TRAINING if BY_TRAINING[0] in summary["base"] else ("source_pass", "source_mean")
    always = ("pass_at_k", "mean_at_k", *other, "worst_bin", "hardest_fifth", "area_pass")
    return tuple(dict.fromkeys((*always, *summary["at_equal_cost"])))


def titles(k: int) -> dict[str, str]:
    """What each score is called, with k samples a prompt."""
    return {
        "pass_at_k": f"pass@{k}",
        "mean_at_k": f"mean@{k}",
        "source_pass": f"pass@{k}, sources alike",
        "source_mean": f"mean@{k}, sources alike",
        "trained_pass": f"pass@{k}, shares of training",
        "trained_mean": f"mean@{k}, shares of training",
        "worst_bin": f"mean@{k}, worst tier",
        "hardest_fifth": f"mean@{k}, hardest fifth",
        WORST_FAMILY: f"mean@{k}, worst family",
        "worst_bin_pass": f"pass@{k}, worst tier",
        "hardest_fifth_pass": f"pass@{k}, hardest fifth",
        "area_pass": f"area, pass@{k}",
        "area_mean": f"area, mean@{k}",
    }


def markdown(summary: Mapping[str, Any]) -> str:
    """The claims, if the plan makes any; what was learnt, with differences from the baseline; what
    it took."""
    names, methods = titles(summary["k"]), summary["methods"]
    columns = shown(summary)
    before = [
        f"{summary['base'][name]:.3f}" if name in summary["base"] else "–" for name in columns
    ]
    learnt = [["*before training*", "", *before]]
    for method, entry in methods.items():
        cells = [cell(entry["scores"][name]) for name in columns]
        learnt.append([f"`{method}`", str(len(entry["seeds"])), *cells])
    spent = [[f"`{method}`", *cost_cells(entry, summary)] for method, entry in methods.items()]
    parts = [claims_table(summary)] if summary["claims"] else []
    parts += [table(["method", "seeds", *(names[name] for name in columns)], learnt)]
    parts += [table(["method", *cost_heads(summary)], spent)]
    parts += [equal_cost_table(summary)] if _at_equal_cost_known(summary) else []
    notes = [f"Missing: {', '.join(summary['missing'])}."] if summary["missing"] else []
    notes += [few] if (few := few_seeds(summary)) else []
    notes += [f"Run {summary['ran']}."] if summary["ran"] else []
    notes += summary["notes"]
    return "\n".join([*parts, caption(summary), *(f"\n{note}" for note in notes)]) + "\n"


def few_seeds(summary: Mapping[str, Any]) -> str:
    """Which methods have so few seeds that an interval says little; "" where none has."""
    counts = {method: len(entry["seeds"]) for method, entry in summary["methods"].items()}
    few = [f"`{method}` {count}" for method, count in counts.items() if count < FEW_SEEDS]
    if not few:
        return ""
    alone = " One seed: the interval knows nothing of the spread over seeds."
    said = f"Few seeds, so that intervals rest on little: {', '.join(few)}."
    return said + (alone if 1 in counts.values() else "")


def claims_table(summary: Mapping[str, Any]) -> str:
    """One row a claim: the difference, its p-value after Holm, and the sentence that the plan has
    for what came out."""
    names = titles(summary["k"])
    rows = [
        [
            f"`{claim['method']}` - `{claim['against']}`, {names[claim['score']]}",
            moved(estimate_of(claim["difference"])),
            f"{claim['p_adjusted']:.2g}",
            claim["verdict"],
            claim["words"],
        ]
        for claim in summary["claims"]
    ]
    return table(
        ["claim, stated before the runs", "difference", "p (Holm)", "verdict", "what that means"],
        rows,
    )


def equal_cost_table(summary: Mapping[str, Any]) -> str:
    """One row a method: its differences where it had spent no more tokens, or seconds, than the
    baseline."""
    names = titles(summary["k"])
    scores = summary["at_equal_cost"]
    heads = [f"{names[score]}, equal {cost}" for cost in EQUAL_COSTS for score in scores]
    rows = []
    for method, entry in summary["methods"].items():
        found = entry["at_equal_cost"]
        if found:
            cells = [
                moved(estimate_of(found[cost][score])) if cost in found else "–"
                for cost in EQUAL_COSTS
                for score in scores
            ]
            rows.append([f"`{method}`", *cells])
    return table([f"method, difference from `{summary['baseline']}`", *heads], rows)


def _at_equal_cost_known(summary: Mapping[str, Any]) -> bool:
    return any(entry["at_equal_cost"] for entry in summary["methods"].values())


def caption(summary: Mapping[str, Any]) -> str:
    """How to read the table."""
    if summary["fresh_data"]:
        paired = (
            "paired by replicate (data and held-out prompts of its own), with Student's 95 %"
            " interval over replicates"
        )
        tiers = ", tiers of each replicate's own prompts"
    else:
        paired = "paired by seed and prompt, with a 95 % interval"
        tiers = "; tier (prompts): " + ", ".join(
            f"{part['bin']} ({part['prompts']})" for part in summary["bins"]
        )
        tiers = tiers if summary["bins"][0]["bin"] >= 0 else "; there is none, so it is the mean"
    equal = (
        " Equal tokens (seconds): both curves are read where both runs of a seed had spent the"
        " same, the less of the two totals, linear between evaluations; a run read before its end"
        " has not seen its last learning rates."
        if _at_equal_cost_known(summary)
        else ""
    )
    return (
        f"{summary['prompts']} held-out prompts, {summary['k']} samples each, after"
        f" {summary['steps']} steps. In brackets: difference from `{summary['baseline']}`,"
        f" {paired}; bold where it leaves 0 out (not adjusted for the number of methods). Worst"
        " tier: the lowest of the tiers of success rate before training that hold 8 prompts or"
        f" more{tiers}. {_on_sources(summary)}{_on_families(summary)} Area: mean height"
        f" of the curve over rollouts.{equal}"
    )


def _on_families(summary: Mapping[str, Any]) -> str:
    if WORST_FAMILY not in shown(summary):
        return ""
    return " Worst family: the lowest mean of the sources that share a name up to their last /."


def _on_sources(summary: Mapping[str, Any]) -> str:
    if BY_TRAINING[0] in summary["base"]:
        return (
            "The held-out prompts are as many from each source (ids up to the last /); shares of"
            " training: the mean over sources in which each counts by its training prompts."
        )
    return (
        "Sources alike: the mean over sources (ids up to the last /) of their prompts' mean,"
        " however many there are of each."
    )


def cost_heads(summary: Mapping[str, Any]) -> list[str]:
    """The columns of `cost_cells`."""
    reach = [f"rollouts to the baseline's {score}@{summary['k']}" for score in ("mean", "pass")]
    reward = ["training reward at the end"] if _reward_known(summary) else []
    costs = [title for cost, title in COST_TITLES.items() if cost_known(summary, cost)]
    return [*reach, "groups without gradient", *reward, *costs]


def cost_cells(entry: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Rollouts to the baseline's score, dead groups, and what was spent beside the baseline's, as
    text."""
    dead, reward = entry["dead_groups"]["value"], entry["training_reward"]["value"]
    other = summary["methods"][summary["baseline"]]
    return [
        *(
            _reached(entry["rollouts_to_baseline"][name], len(entry["seeds"]))
            for name in ("mean_at_k", "pass_at_k")
        ),
        "–" if math.isnan(dead) else f"{100 * dead:.1f} %",
        *(["–" if math.isnan(reward) else f"{reward:.2f}"] if _reward_known(summary) else []),
        *(_beside(entry[cost], other[cost]) for cost in COST_TITLES if cost_known(summary, cost)),
    ]


def _reward_known(summary: Mapping[str, Any]) -> bool:
    return any(
        not math.isnan(entry["training_reward"]["value"]) for entry in summary["methods"].values()
    )


def cost_known(summary: Mapping[str, Any], cost: str) -> bool:
    """Whether all methods' runs say it: all but trained tokens always were."""
    return cost != "trained_tokens" or all(
        not math.isnan(entry[cost]) for entry in summary["methods"].values()
    )


def _beside(value: float, baseline: float) -> str:
    """`244,599 (+27 %)`; the same as the baseline's, within half a per cent, is only the number."""
    more = 100.0 * (value / baseline - 1.0) if baseline > 0 else math.nan
    return f"{value:,.0f} ({more:+.0f} %)" if abs(more) >= 0.5 else f"{value:,.0f}"


def _reached(reach: Mapping[str, Any], seeds: int) -> str:
    at = reach["rollouts"]
    where = "before training" if at == 0.0 else f"{at:,.0f}" if math.isfinite(at) else "not reached"
    return f"{where} ({reach['seeds']} of {seeds} seeds)"
