"""The result of a run in one sentence and in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gdro.core.diagnostics import read_interval
from gdro.report.figures_training import samples_a_prompt, source_groups, tier_groups
from gdro.report.panels import last_known
from gdro.report.read import Record, mapping, number

DATA_COUNTS = {
    "duplicates": "prompts occurred twice and were dropped",
    "contradictions": "of the prompts dropped as duplicates had another text or answer",
    "heldout_text_seen": "held-out prompts have a text that is trained on too",
    "beyond_limit": "prompts lie beyond the limit and are not used",
    "overlong": "prompts are too long and were dropped",
}
"""What the counts in the start event mean."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Change:
    """A quantity before and after.

    Attributes:
        before, after: (value, low, high).
        paired: (value, low, high) of after - before over the same prompts, where the record has it.
    """

    before: Triple
    after: Triple
    paired: Triple | None = None

    @property
    def gain(self) -> Triple:
        """after - before. Without a paired interval, one that treats the two as independent: too
        wide, so safe."""
        if self.paired is not None:
            return self.paired
        (b, b_low, b_high), (a, a_low, a_high) = self.before, self.after
        value = a - b
        return (
            value,
            value - math.hypot(a - a_low, b_high - b),
            value + math.hypot(a_high - a, b - b_low),
        )

    @property
    def verdict(self) -> str:
        """`rose`, `fell`, or `no clear change` when the interval holds 0 or is unknown."""
        _, low, high = self.gain
        return "rose" if low > 0 else "fell" if high < 0 else "no clear change"


@dataclass(frozen=True)
class Row:
    """One row of the table: a set of held-out prompts, or (without results) the heading of the rows
    below it.

    Attributes:
        by_answers: whether the prompts were put together by their answers before training. Their
            change is then partly a return to the mean, and its interval says nothing.
    """

    name: str
    prompts: str = ""
    mean: Change | None = None
    best: Change | None = None
    by_answers: bool = False


def change(first: object, last: object, key: str) -> Change:
    """A quantity of two evaluation entries; the paired interval is in the later one, measured
    against the first."""
    paired = mapping(mapping(last).get("change")).get(key)
    triple = read_interval(paired) if isinstance(paired, Mapping) else None
    return Change(
        read_interval(mapping(first).get(key)), read_interval(mapping(last).get(key)), triple
    )


def headline(record: Record) -> str:
    """The run in one sentence, e.g. "mean@8 0.31 → 0.38 [+0.05, +0.09], ... in 300 steps, 76,800
    rollouts, 118 s"."""
    return " ".join(part for part in (results(record), cost(record)) if part)


def results(record: Record) -> str:
    """The first half of the headline: what came out; empty without an evaluation."""
    return ", ".join(_results(record))


def _results(record: Record) -> list[str]:
    if not record.evaluations:
        return []
    first, last, k = record.evaluations[0], record.evaluations[-1], samples_a_prompt(record)
    names = (("mean_at_k", f"mean@{k}"), ("pass_at_k", f"pass@{k}"))
    if len(record.evaluations) == 1:
        return [
            f"{name} {plain(read_interval(first.get(key))[0])} before training"
            for key, name in names
        ]
    return [
        f"{name} {arrow(change(first, last, key))} {gain(change(first, last, key))}"
        for key, name in names
    ]


def cost(record: Record) -> str:
    """The second half of the headline: what it took."""
    if not len(record.steps):
        return "No training step yet"
    parts = [f"{'in ' if record.evaluations else ''}{int(record.steps[-1]):,} steps"]
    if record.has("rollouts_total"):
        parts.append(f"{int(last_known(record.scalar('rollouts_total'))):,} rollouts")
    seconds = number(record.end.get("seconds")) if record.end else math.nan
    if math.isfinite(seconds):
        parts.append(f"{seconds:,.0f} s" + (" since it was resumed" if record.resumed else ""))
    return ", ".join(parts)


def in_words(record: Record) -> str:
    """What the headline means, for a newcomer; empty without a before and an after."""
    if len(record.evaluations) < 2 or not len(record.steps):
        return ""
    first, last, k = record.evaluations[0], record.evaluations[-1], samples_a_prompt(record)
    mean, best = change(first, last, "mean_at_k"), change(first, last, "pass_at_k")
    return (
        f"The part of single answers that is right (mean@{k}): {mean.verdict}. The part of prompts"
        f" solved at least once in {k} answers (pass@{k}): {best.verdict}. Both on prompts that"
        " were not trained on; in brackets, 95% intervals of the change."
    )


def table(record: Record) -> list[Row]:
    """Before and after: overall, per difficulty tier, per source. Needs two evaluations, else no
    rows."""
    if len(record.evaluations) < 2:
        return []
    first, last = record.evaluations[0], record.evaluations[-1]
    rows = [_row("All prompts", first, last)]
    for head, groups, by_answers in (
        ("By difficulty tier", tier_groups, True),
        ("By source", source_groups, False),
    ):
        before, after = groups(first), groups(last)
        found = [
            _row(name, entry, after[name], by_answers)
            for name, entry in before.items()
            if name in after
        ]
        rows += [Row(head), *found] if found else []
    return rows


def _row(name: str, first: object, last: object, by_answers: bool = False) -> Row:
    prompts = mapping(first).get("prompts")
    shown = f"{prompts:,}" if isinstance(prompts, int) else "–"
    mean, best = change(first, last, "mean_at_k"), change(first, last, "pass_at_k")
    return Row(name, shown, mean, best, by_answers)


def plain(value: float) -> str:
    """Two decimals, a dash when unknown."""
    return f"{value:.2f}" if math.isfinite(value) else "–"


def signed(value: float) -> str:
    """Two decimals with their sign, never minus zero."""
    text = f"{value:+.2f}" if math.isfinite(value) else "–"
    return {"-0.00": "0.00", "+0.00": "0.00"}.get(text, text.replace("-", "−"))


def arrow(pair: Change) -> str:
    """before → after."""
    return f"{plain(pair.before[0])}\u00a0→\u00a0{plain(pair.after[0])}"


def gain(pair: Change) -> str:
    """The interval of the change in brackets."""
    _, low, high = pair.gain
    return f"[{signed(low)},\u00a0{signed(high)}]"


def counted(record: Record) -> list[str]:
    """Sentences about what the run cut, clipped or met twice: nothing of that kind is silent."""
    notes = []
    cut = record.scalar("completions_cut")
    if np.nansum(cut) > 0:
        notes.append(f"{np.nanmean(cut):.1%} of the completions were cut off at the token limit.")
    outside, clipped = (
        np.nansum(record.scalar("out_of_range")),
        last_known(record.scalar("signal_clipped")),
    )
    if outside > 0:
        notes.append(f"Clipped: {int(outside):,} rewards outside the declared range.")
    if clipped > 0:
        notes.append(f"Clipped: {int(clipped):,} values of the adversary's signal.")
    for key, value in mapping(record.start.get("data")).items():
        if number(value) > 0:
            notes.append(
                f"Data: {int(number(value)):,} {DATA_COUNTS.get(key, str(key).replace('_', ' '))}."
            )
    return notes
