"""The record of a step for the run's own file, and the seconds in it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers import TrainerState

from gdro.core.types import Metrics
from gdro.engines.trl.checkpoint import Place

Record = dict[str, Any]

OBJECTIVE = "gdro/objective/"
"""What the names of an objective's metrics start with in TRL's logs."""


class Stopwatch:
    """Seconds by phase since the last reading: `generate`, `score`, and the whole `step`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, phase: str, seconds: float) -> None:
        """Add to a phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the seconds of a block to a phase."""
        start = time.perf_counter()
        yield
        self.add(phase, time.perf_counter() - start)

    def read(self) -> dict[str, float]:
        """Seconds of each phase, `update` being what the others leave of the step; starts again
        from zero."""
        step, generate, score = (
            self.seconds.get(phase, 0.0) for phase in ("step", "generate", "score")
        )
        self.seconds = {}
        return {
            "step": step,
            "generate": generate,
            "score": score,
            "update": step - generate - score,
        }


def step_record(
    logs: Mapping[str, Any],
    state: TrainerState,
    place: Place,
    seconds: Mapping[str, float],
    trained_tokens: int,
    controller: Metrics,
    choice: Mapping[str, Any] | None = None,
) -> Record:
    """The record of a step, from TRL's logs of it; a quantity TRL did not log is None. Its trained
    tokens are those of its own training passes, where rollouts without a gradient are not. An
    objective that reports something has it under `objective`, what the batch was chosen from under
    `choice`."""
    reported = {
        key.removeprefix(OBJECTIVE): value
        for key, value in logs.items()
        if key.startswith(OBJECTIVE)
    }
    return {
        "step": state.global_step,
        "epoch": state.epoch,
        "loss": logs.get("loss"),
        "reward": logs.get("reward"),
        "learning_rate": logs.get("learning_rate"),
        "grad_norm": logs.get("grad_norm"),
        "entropy": logs.get("entropy"),
        "kl": logs.get("kl"),
        "completion_length": logs.get("completions/mean_length"),
        "completions_cut": logs.get("completions/clipped_ratio"),
        "rollouts_total": place.rollouts_total,
        "tokens_total": place.tokens_total,
        "trained_tokens": trained_tokens,
        "seconds": dict(seconds),
        "controller": dict(controller),
        **({"choice": dict(choice)} if choice else {}),
        **({"objective": reported} if reported else {}),
    }
