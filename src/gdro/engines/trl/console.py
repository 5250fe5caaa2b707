"""What of TRL's logs is printed: trackers get every key, a person's screen only what says most.

A controller reports a value for each bin, a hundred numbers a step; TRL prints every key it logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PrinterCallback, ProgressCallback, Trainer

PREFIX = "gdro/"
KEPT = frozenset(
    PREFIX + name
    for name in (
        "zero_variance_share",
        "any_correct",
        "live_offered",
        "live_predicted",
        "weight_max",
        "skipped_steps",
        "missing_rollouts",
        "seconds/step",
    )
)
"""Of gdro's own keys, those that are printed."""


def few(logs: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """TRL's own keys, and few of gdro's."""
    if logs is None:
        return None
    return {key: value for key, value in logs.items() if not key.startswith(PREFIX) or key in KEPT}


class FewKeysPrinter(PrinterCallback):  # type: ignore[misc]
    """transformers' printer of logs, with few of gdro's keys."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        super().on_log(args, state, control, logs=few(logs), **kwargs)


class FewKeysProgress(ProgressCallback):  # type: ignore[misc]
    """transformers' progress bar with its logs, with few of gdro's keys."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        super().on_log(args, state, control, logs=few(logs), **kwargs)


def print_few(trainer: Trainer) -> None:
    """Let the trainer's own printer, if it has one of transformers', print few of gdro's keys."""
    for old, new in ((PrinterCallback, FewKeysPrinter), (ProgressCallback, FewKeysProgress)):
        if any(type(one) is old for one in trainer.callback_handler.callbacks):
            trainer.remove_callback(old)
            trainer.add_callback(new())
