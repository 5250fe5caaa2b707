"""Figures of the rollout budget: who gets how many rollouts, and what it buys."""

from __future__ import annotations

import numpy as np

from gdro.core import diagnostics
from gdro.report.chart import SERIES, Chart, short
from gdro.report.panels import Blocks, Figure, Missing, bin_ticks, heat, last_known, lines
from gdro.report.read import Record

UNIFORM = "every prompt of this run got the same number of rollouts."


def frontier(record: Record) -> Figure | Missing:
    """Rollouts per prompt by bin over time (the budget frontier)."""
    title = "Rollouts per prompt"
    if not record.varies("rollouts"):
        return Missing(title, UNIFORM)
    blocks = Blocks.of(record.steps)
    chart = heat(
        blocks,
        record.per_bin("rollouts"),
        "Mean rollouts of a prompt",
        "Rollouts per bin over steps.",
        low=None,
    )
    top = int(np.argmax(np.nan_to_num(diagnostics.nan_mean(record.per_bin("rollouts")), nan=-1.0)))
    caption = (
        "How many rollouts a prompt of each bin got. The mean over the batch is"
        f" {short(mean_rollouts(record))} at every step; bin {top} got the most over the"
        f" run.{blocks.note} Blank: no prompt of that bin."
    )
    return Figure("frontier", title, caption, (chart.svg("frontier-heat"),))


def mean_rollouts(record: Record) -> float:
    """nbar: rollouts per prompt over the whole batch, from the record's counts."""
    prompts, rollouts = record.scalar("batch_prompts"), record.scalar("batch_rollouts")
    return float(diagnostics.nan_mean(np.divide(rollouts, prompts)))


def shares(record: Record) -> Figure | Missing:
    """Share of data against share of budget per bin, over the whole run."""
    title = "Share of data, share of budget"
    if not record.varies("rollouts") or not record.has_bins("share"):
        return Missing(title, UNIFORM)
    share, rollouts = record.per_bin("share"), record.per_bin("rollouts")
    data = diagnostics.normalized(diagnostics.nan_mean(np.nan_to_num(share)))
    spent = diagnostics.normalized(
        diagnostics.nan_mean(np.nan_to_num(diagnostics.budget_share(share, rollouts)))
    )
    top = float(max(data.max(), spent.max())) * 1.1
    chart = Chart(
        (-0.6, record.bins - 0.4),
        (0.0, top),
        "Share of the whole run",
        "Two columns per bin.",
        height=240,
    )
    chart.y_axis()
    chart.x_axis("bin, hardest first", bin_ticks(record.bins))
    for b in range(record.bins):
        chart.bar(b - 0.38, b - 0.02, float(data[b]), "var(--bar)")
        chart.bar(b + 0.02, b + 0.38, float(spent[b]), SERIES[1])
    _legend(chart, (("prompts", "var(--bar)"), ("rollouts", SERIES[1])))
    caption = (
        "Left column of each pair: the bin's part of all prompts that were trained on; right"
        " column: its part of all rollouts. A taller right column means that the bin was given more"
        " compute than its size."
    )
    return Figure("shares", title, caption, (chart.svg("shares-bars"),))


def _legend(chart: Chart, entries: tuple[tuple[str, str], ...]) -> None:
    x = float(chart.x1)
    for name, fill in reversed(entries):
        x -= 7 * len(name)
        chart.text(x, 14, name, fill="var(--muted)")
        x -= 15
        chart.parts.append(f'<rect x="{x:g}" y="5" width="10" height="10" rx="2" fill="{fill}"/>')
        x -= 12


def wse(record: Record) -> Figure | Missing:
    """Weighted standard error (33) against the uniform plan."""
    title = "Standard error against uniform rollouts"
    if not record.varies("rollouts"):
        return Missing(title, UNIFORM)
    if record.has("wse", "wse_uniform"):
        adapted, uniform = record.scalar("wse"), record.scalar("wse_uniform")
    elif record.has_bins("share", "variance"):
        share, variance = record.per_bin("share"), record.per_bin("variance")
        adapted = diagnostics.weighted_standard_error(share, variance, record.per_bin("rollouts"))
        uniform = diagnostics.weighted_standard_error(share, variance, mean_rollouts(record))
    else:
        return Missing(title, "the record holds no reward variances.")
    change = np.divide(adapted, uniform, out=np.full_like(adapted, np.nan), where=uniform > 0) - 1
    if not np.isfinite(change).any():
        return Missing(title, "no reward has varied yet.")
    blocks = Blocks.of(record.steps)
    percent = {"change": 100 * change}
    chart = lines(
        blocks,
        percent,
        "Percent above or below uniform rollouts",
        "WSE change over steps.",
        zero=True,
    )
    chart.rule_at(0.0)
    mean = float(diagnostics.nan_mean(change))
    word = "smaller" if mean < 0 else "larger"
    caption = (
        "Rewards are noisy; the weighted standard error (WSE) says how noisy their means are under"
        f" a plan. This plan's was on average {abs(mean):.1%} {word} than if every prompt had got"
        f" the same number of rollouts, at the same total.{blocks.note}"
    )
    return Figure("wse", title, caption, (chart.svg("wse-change"),))


def price(record: Record) -> Figure | Missing:
    """Shadow price and demand."""
    title = "Shadow price and demand"
    if not record.has("shadow_price"):
        return Missing(title, "this controller has no shadow price.")
    blocks = Blocks.of(record.steps)
    panels = [
        lines(
            blocks,
            {"price": record.scalar("shadow_price")},
            "Shadow price of a rollout",
            "Price over steps.",
        ).svg("price-mu")
    ]
    if record.has("demand_mean"):
        demand = {
            "demand": record.scalar("demand_mean"),
            "budget": np.full(len(record.steps), mean_rollouts(record)),
        }
        panels.append(
            lines(blocks, demand, "Rollouts per prompt", "Demand and budget over steps.").svg(
                "price-demand"
            )
        )
    caption = (
        "The price rises while the bins ask for more rollouts than the budget holds, and falls"
        " while they ask for less. It has settled when the demand stays at the budget."
        + blocks.note
    )
    return Figure("price", title, caption, tuple(panels), full=len(panels) > 1)


def regret(record: Record) -> Figure | Missing:
    """The adversary's live regret with its bound."""
    title = "Regret of the data adversary"
    if not record.has("regret"):
        return Missing(title, "this controller has no data adversary.")
    blocks = Blocks.of(record.steps)
    series = {"regret": record.scalar("regret")}
    bounded = record.has("regret_bound")
    if bounded:
        series["bound"] = record.scalar("regret_bound")
    chart = lines(
        blocks, series, "Cumulative regret", "Regret over steps, with its bound if any.", zero=True
    )
    tail = (
        f" It ends at {short(last_known(series['regret']))} under a bound of"
        f" {short(last_known(series['bound']))}."
        if bounded
        else (
            " This adversary has no bound: it is a smoothed best response, not a no-regret learner."
        )
    )
    caption = (
        "How much the adversary would have gained by staying on the best single bin, known only"
        f" afterwards.{tail}"
    )
    return Figure("regret", title, caption, (chart.svg("regret-lines"),))
