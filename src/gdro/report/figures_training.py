"""Figures of the training itself: rewards and losses, checkpoints, verifier, time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from gdro.core import diagnostics
from gdro.core.types import Floats, Ints
from gdro.report.chart import SERIES, Chart, extent, short
from gdro.report.panels import Blocks, Figure, Missing, bin_ticks, lines
from gdro.report.read import Event, Record, mapping


def curves(record: Record) -> Figure | Missing:
    """Reward, loss, entropy, share of groups without gradient."""
    title = "Reward, loss, entropy, dead groups"
    wanted = {
        "reward": ("Mean reward of a rollout", False),
        "loss": ("Loss", True),
        "entropy": ("Entropy of the policy", True),
        "zero_variance_share": ("Groups without gradient", True),
    }
    if not any(record.has(name) for name in wanted):
        return Missing(title, "no training step is recorded.")
    blocks = Blocks.of(record.steps)
    panels = tuple(
        lines(
            blocks,
            {name: record.scalar(name)},
            head,
            f"{head} over steps.",
            zero=zero,
            width=230,
            height=170,
        ).svg(f"curves-{name}")
        for name, (head, zero) in wanted.items()
        if record.has(name)
    )
    caption = (
        "The reward should rise. The loss of policy gradients has no meaning of its own and hovers"
        " around zero. Entropy falls as the model grows sure of itself; near zero it has stopped"
        " exploring. A prompt whose rollouts are all right or all wrong gives no gradient: the last"
        " panel counts them." + blocks.note
    )
    return Figure("curves", title, caption, panels, full=True)


def checkpoints(record: Record) -> Figure | Missing:
    """mean@k and pass@k by checkpoint."""
    title = "Held-out results by checkpoint"
    if not record.evaluations:
        return Missing(title, "the run has not been evaluated.")
    k, chart = samples_a_prompt(record), checkpoint_chart(record)
    caption = (
        f"mean@{k} is the part of single answers that is right, pass@{k} the part of prompts of"
        f" which at least one of {k} answers is. Plain training often raises the first and lowers"
        " the second; the shaded bands are 95% intervals."
    )
    return Figure("checkpoints", title, caption, (chart.svg("checkpoints-lines"),))


def checkpoint_chart(record: Record, width: int = 380, height: int = 240) -> Chart:
    """pass@k and mean@k of the held-out prompts with intervals by checkpoint."""
    k = samples_a_prompt(record)
    entries = {
        f"pass@{k}": diagnostics.by_checkpoint(record.evaluations, "pass_at_k"),
        f"mean@{k}": diagnostics.by_checkpoint(record.evaluations, "mean_at_k"),
    }
    return by_step(
        entries, "Held-out prompts", "Both with their intervals by checkpoint.", width, height
    )


def samples_a_prompt(record: Record) -> int:
    """The k of mean@k and pass@k; 8 when the record does not say."""
    k = record.evaluations[0].get("k") if record.evaluations else 8
    return k if isinstance(k, int) else 8


def by_step(
    entries: dict[str, tuple[Ints, Floats]],
    title: str,
    about: str,
    width: int = 380,
    height: int = 240,
) -> Chart:
    """Evaluated quantities with their intervals by checkpoint."""
    steps = next(iter(entries.values()))[0]
    every = [values for _, values in entries.values()]
    span = (float(steps.min()), float(max(steps.max(), steps.min() + 1)))
    right = 16 + 9 * max(map(len, entries))
    chart = Chart(
        span, extent(*every), title, about, left=50, right=right, width=width, height=height
    )
    chart.y_axis()
    chart.x_axis("step")
    for index, (at, values) in enumerate(entries.values()):
        chart.band(at, values[:, 1], values[:, 2], index)
        chart.line(at, values[:, 0], index)
        for step, value in zip(at.tolist(), values[:, 0].tolist(), strict=True):
            chart.dot(step, value, index, hollow=index > 0, radius=3.5)
    chart.end_labels(
        [
            (float(values[-1, 0]), name, index)
            for index, (name, (_, values)) in enumerate(entries.items())
        ]
    )
    return chart


def worst(record: Record) -> Figure | Missing:
    """pass@1 of the worst difficulty tier and of the worst source by checkpoint."""
    title = "The worst difficulty tier and the worst source"
    found = {
        "worst tier": _worst(record, tier_groups),
        "worst source": _worst(record, source_groups),
    }
    shown = {name: rows for name, rows in found.items() if np.isfinite(rows[1]).any()}
    if not shown:
        return Missing(title, "the evaluations hold no results by difficulty or source.")
    chart = by_step(
        shown, "pass@1 of the weakest group", "Lowest pass@1 over groups by checkpoint."
    )
    caption = (
        "What is right on the first try in the group where the model does worst: among the"
        " difficulty tiers (held-out prompts by the base model's own share of right answers) and"
        " among the sources of the data. This is what a robust method wants to lift."
    )
    return Figure("worst", title, caption, (chart.svg("worst-lines"),))


def tier_groups(event: Event) -> dict[str, dict[str, object]]:
    """The difficulty tiers of an evaluation by name: ten equal steps of the base model's pass rate,
    fixed for the run. The record calls them bins; the controller's bins are other ones."""
    rows = event.get("by_bin")
    rows = rows if isinstance(rows, list) else []
    return {f"tier {row.get('bin')}": dict(row) for row in rows if isinstance(row, dict)}


def source_groups(event: Event) -> dict[str, dict[str, object]]:
    """The data sources of an evaluation by name."""
    return {
        str(name): dict(mapping(entry)) for name, entry in mapping(event.get("by_source")).items()
    }


def _worst(
    record: Record, groups: Callable[[Event], Mapping[str, Mapping[str, object]]]
) -> tuple[Ints, Floats]:
    steps = np.array([int(str(event["step"])) for event in record.evaluations], dtype=np.int64)
    found = [diagnostics.weakest_group(groups(event)) for event in record.evaluations]
    rows = [triple[1] if triple else (np.nan,) * 3 for triple in found]
    return steps, np.array(rows, dtype=np.float64).reshape(len(rows), 3)


def verifier(record: Record) -> Figure | Missing:
    """What the verifier said, by cause."""
    title = "What the verifier said"
    totals = _totals(record, "verifier.")
    if not totals:
        return Missing(title, "the record holds no verdicts.")
    chart = bars(totals, "Rollouts by verdict", lambda value: f"{value:,.0f}")
    caption = (
        "Every rollout of the run by the reason for its score. Many timeouts or errors point at the"
        " verifier or the answer format, not at the model."
    )
    return Figure("verifier", title, caption, (chart.svg("verifier-bars"),))


def seconds(record: Record) -> Figure | Missing:
    """Where the time went."""
    title = "Where the time went"
    totals = _totals(record, "seconds.")
    total = totals.pop("step", 0.0)
    if not totals:
        return Missing(title, "the record holds no times.")
    rest = total - sum(totals.values())
    if rest > 0.005 * total:
        totals["other"] = rest
    chart = bars(totals, "Seconds by phase", lambda value: f"{short(value)} s")
    steps = max(1, len(record.steps))
    caption = f"Summed over {steps:,} steps; one step took {short(total / steps)} s on average."
    return Figure("seconds", title, caption, (chart.svg("seconds-bars"),))


def _totals(record: Record, prefix: str) -> dict[str, float]:
    """Sums over the run of the scalars under a prefix, largest first."""
    sums = {
        name.removeprefix(prefix): float(np.nansum(values))
        for name, values in record.scalars.items()
        if name.startswith(prefix)
    }
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def bars(values: dict[str, float], title: str, words: Callable[[float], str]) -> Chart:
    """Named quantities as horizontal bars with the number written at each."""
    height = 34 + 26 * len(values)
    left = 14 + 7 * max(map(len, values))
    span = (0.0, max(values.values()) or 1.0)
    chart = Chart(
        span,
        (len(values) - 0.5, -0.5),
        title,
        "One bar each.",
        height=height,
        left=left,
        right=66,
        bottom=4,
    )
    for index, (name, value) in enumerate(values.items()):
        top, wide = chart.py(index) - 8, chart.px(value) - chart.x0
        chart.parts.append(
            f'<rect x="{chart.x0}" y="{top:.1f}" width="{wide:.1f}" height="16" rx="2"'
            ' fill="var(--bar)"/>'
        )
        chart.text(chart.x0 - 8, top + 12, name.replace("_", " "), anchor="end")
        chart.text(chart.px(value) + 6, top + 12, words(value), fill="var(--muted)")
    return chart


def before_after(record: Record) -> Figure | Missing:
    """Held-out results by difficulty tier, before and after."""
    title = "Before and after, by difficulty"
    if len(record.evaluations) < 2 or not tier_groups(record.evaluations[0]):
        return Missing(title, "needs two evaluations with results by difficulty.")
    k = samples_a_prompt(record)
    panels = tuple(
        dumbbells(record, key, f"{name}@{k} by tier").svg(f"before-after-{name}")
        for key, name in (("mean_at_k", "mean"), ("pass_at_k", "pass"))
    )
    caption = (
        "Hollow: the base model; filled: the last checkpoint. Tiers come from the base model's"
        " own answers, so even without training the low tiers would rise a little and the high ones"
        " fall a little: chance put some prompts there. By the same choice the base's pass@k is 1"
        " in every tier above the lowest."
    )
    return Figure("before-after", title, caption, panels, full=True)


def dumbbells(record: Record, key: str, title: str) -> Chart:
    """One quantity of each tier at the first and the last evaluation."""
    first, last = tier_groups(record.evaluations[0]), tier_groups(record.evaluations[-1])
    names = [name for name in first if name in last]
    tiers = [float(str(first[name]["bin"])) for name in names]
    chart = Chart(
        (-0.6, max(tiers, default=0) + 0.6),
        (0.0, 1.0),
        title,
        "Before and after.",
        height=230,
    )
    chart.y_axis([0, 0.25, 0.5, 0.75, 1])
    chart.x_axis("difficulty tier, hardest first", bin_ticks(int(max(tiers, default=0)) + 1))
    for name, b in zip(names, tiers, strict=True):
        before = diagnostics.read_interval(first[name].get(key))[0]
        after = diagnostics.read_interval(last[name].get(key))[0]
        chart.segment(b, before, b, after, SERIES[0])
        chart.dot(b, before, 0, hollow=True, radius=3.5)
        chart.dot(b, after, 0, radius=4.5)
    return chart
