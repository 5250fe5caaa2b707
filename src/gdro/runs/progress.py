"""What a run shows while it goes: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gdro.runs.record import interval_words
from gdro.runs.rewards import Example

BAR = 16
BLOCKS = " ▏▎▍▌▋▊▉█"
PLAIN_EVERY = 5.0
"""Seconds between plain lines."""


class Progress:
    """Takes in the events of a run. Text goes to stderr, so that a pipe gets nothing it did not ask
    for."""

    def __init__(self, steps: int, *, live: bool | None = None) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.steps = steps
        self.example = Example()
        self._is_live = sys.stderr.isatty() if live is None else live
        self._live: Live | None = None
        self._evaluation: dict[str, Any] | None = None
        self._started: tuple[float, int] | None = None
        self._last_plain = -math.inf

    def note(self, text: str) -> None:
        """A sentence for the person who watches."""
        self.console.print(Text(f"{time.strftime('%H:%M:%S')}  {text}"), soft_wrap=True)

    def evaluation(self, step: int, fields: dict[str, Any]) -> None:
        """Held-out figures."""
        self._evaluation = fields
        mean, passed = (interval_words(fields[name]) for name in ("mean_at_k", "pass_at_k"))
        self.note(
            f"held-out at step {step}: mean@{fields['k']} {mean}, pass@{fields['k']}"
            f" {passed}, worst tier {fields['worst_bin']['mean_at_k']['value']:.3f}"
        )

    def step(self, record: dict[str, Any], spent: int | None = None) -> None:
        """A training step.

        Args:
            spent: of all steps, as many as are done or paid for; default: the record's step.
        """
        now = time.monotonic()
        spent = record["step"] if spent is None else spent
        if self._started is None:
            self._started = (now, spent)
        if self._is_live:
            if self._live is None:
                self._live = Live(console=self.console, refresh_per_second=4, transient=False)
                self._live.start()
            self._live.update(self._view(record, spent))
        elif now - self._last_plain >= PLAIN_EVERY or spent == self.steps:
            self._last_plain = now
            self.console.print(self._line(record, spent), soft_wrap=True)

    def close(self) -> None:
        """Leave the last view on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _left(self, spent: int) -> str:
        started, first = self._started or (0.0, spent)
        done = spent - first
        if not done:
            return "--:--"
        seconds = (time.monotonic() - started) / done * (self.steps - spent)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

    def _step(self, step: int, spent: int, width: int = 0) -> str:
        of_all = (
            f"/{self.steps}"
            if step == spent
            else f", {100 * spent / self.steps:.0f} % of the rollouts"
        )
        return f"step {step:>{width}}{of_all}"

    def _line(self, record: dict[str, Any], spent: int) -> str:
        shown = record["controller"]
        return (
            f"{self._step(record['step'], spent, width=4)}  reward {_number(record['reward'])}  "
            f"any correct {_number(shown.get('any_correct'))}  worst bin {_number(_worst(shown))}  "
            f"rollouts {record['rollouts_total']:,}  left {self._left(spent)}"
        )

    def _view(self, record: dict[str, Any], spent: int) -> Group:
        shown = record["controller"]
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=self.steps, completed=spent, width=30),
            self._step(record["step"], spent),
            f"{record['rollouts_total']:,} rollouts",
            f"{self._left(spent)} left",
        )
        facts = Text(
            f"reward {_number(record['reward'])}   any correct {_number(shown.get('any_correct'))} "
            f"  worst bin {_number(_worst(shown))}   no gradient"
            f" {_number(shown.get('zero_variance_share'))}   seconds a step"
            f" {_number(record['seconds'].get('step'))}"
        )
        asked = self.example
        line = (
            f"{_short(asked.question, 70)} → {_short(asked.completion, 30)}  reward"
            f" {asked.reward:g}"
        )
        return Group(head, facts, self._bins(shown), Text(line, style="dim"))

    def _bins(self, shown: dict[str, Any]) -> Table:
        table = Table(box=None, padding=(0, 1), header_style="dim")
        for title, justify in (
            ("bin (pass rate)", "left"),
            ("prompts", "left"),
            ("rollouts", "left"),
            ("weight", "right"),
            ("reward", "right"),
        ):
            table.add_column(title, justify=justify)  # type: ignore[arg-type]
        share, rollouts, weight, reward = (
            shown[name] for name in ("share", "rollouts", "weight", "reward")
        )
        most = max((n for n in rollouts if not math.isnan(n)), default=1.0)
        for b in range(len(share)):
            label = f"{b} hardest" if b == 0 else f"{b} easiest" if b == len(share) - 1 else str(b)
            table.add_row(
                label,
                f"{bar(share[b])} {100 * share[b]:3.0f}%",
                f"{bar(rollouts[b] / most)} {_number(rollouts[b], 1)}",
                _number(weight[b]),
                _number(reward[b]),
            )
        return table


def bar(fraction: float, width: int = BAR) -> str:
    """A bar of eighth blocks, `width` characters wide; empty for NaN."""
    if math.isnan(fraction):
        return " " * width
    eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (BLOCKS[part] if part else "")).ljust(width)


def _worst(shown: dict[str, Any]) -> float:
    rates = [rate for rate in shown.get("pass_rate", []) if not math.isnan(rate)]
    return min(rates, default=math.nan)


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
