"""GRESO: skip, before generating, prompts that have given no gradient in their last visits.

Source: Zheng et al., arXiv 2506.02177; read in the release. After z visits in a row that were all
right, a prompt is kept with probability max(p_easy^z, 0.01); all wrong likewise with p_hard. Both
rates start at 0.5 and move by 0.01 a step within [0.05, 0.95]: down when the share of all-right
(all-wrong) prompts is at or above its target, else up. The targets are a third and two thirds of
`target_dead` = 0.25.

Differences: the release draws more prompts until its batch is full. `select` must answer m of the
candidates it is given, so when too few are kept it fills up with skipped ones, the likeliest first;
give it more candidates than m. The rates start to move with the first batch that holds a prompt
seen before (there: after the first epoch), and count those prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.part import Batch, Selector
from gdro.core.belief import Belief
from gdro.core.hashing import step_keys, to_unit
from gdro.core.outcome import Outcome
from gdro.core.types import UNSEEN, Floats, Ints, Metric

LEAST_KEPT = 0.01
RATE_RANGE = (0.05, 0.95)


@dataclass(kw_only=True, eq=False)
class GRESO(Selector):
    """Attributes:
    keep_easy, keep_hard: p_easy and p_hard at the start.
    rate_step: how much they move in a step.
    target_dead: wanted share of prompts without gradient, a third of it easy, two thirds hard.
    """

    keep_easy: float = 0.5
    keep_hard: float = 0.5
    rate_step: float = 0.01
    target_dead: float = 0.25

    name: ClassVar[str] = "greso"

    def start(self) -> None:
        for option in ("keep_easy", "keep_hard", "target_dead"):
            self.require(0.0 < getattr(self, option) < 1.0, option, "must lie in (0, 1)")
        self.require(0.0 <= self.rate_step < 1.0, "rate_step", "must lie in [0, 1)")
        self.state = {"p_easy": self.keep_easy, "p_hard": self.keep_hard}
        for name in ("all_right", "all_wrong"):
            self.facts.table.add_column(name, np.int32, 0)

    def keep_probability(self, rows: Ints) -> Floats:
        """(N,) probability that a prompt is not skipped; 1 for a row of -1."""
        right, wrong = (self.facts.table.read(name, rows) for name in ("all_right", "all_wrong"))
        return np.asarray(
            np.maximum(self.state["p_easy"] ** right * self.state["p_hard"] ** wrong, LEAST_KEPT)
        )

    def rank(self, batch: Batch) -> Floats:
        draw = to_unit(step_keys(batch.keys, self.facts.seed, 1)) / self.keep_probability(
            batch.prompts.rows
        )
        return np.where(draw < 1.0, to_unit(batch.keys), 1.0 + draw)

    def update(self, outcome: Outcome, before: Belief) -> None:
        right = outcome.correct == outcome.counts
        dead, rows, column = ~outcome.live, outcome.prompts.rows, self.facts.table.column
        for name, here in (("all_right", dead & right), ("all_wrong", dead & ~right)):
            column(name)[rows] = np.where(here, column(name)[rows] + 1, 0)
        seen = outcome.bins != UNSEEN
        if seen.any():
            self._move("p_easy", float((dead & right)[seen].mean()), self.target_dead / 3.0)
            self._move("p_hard", float((dead & ~right)[seen].mean()), self.target_dead * 2.0 / 3.0)

    def _move(self, rate: str, share: float, target: float) -> None:
        moved = (
            self.state[rate] - self.rate_step
            if share >= target
            else self.state[rate] + self.rate_step
        )
        self.state[rate] = min(max(moved, RATE_RANGE[0]), RATE_RANGE[1])

    def metrics(self) -> dict[str, Metric]:
        return {"keep_easy": self.state["p_easy"], "keep_hard": self.state["p_hard"]}
