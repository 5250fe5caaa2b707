"""Bandits over categories with Boltzmann choice: SEC and DUMP, which differ in how they score a
category (`categories.py` draws the batch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.contrib.categories import CategorySelector
from gdro.controllers.contrib.daro import mean_absolute_advantage
from gdro.core.belief import Belief
from gdro.core.outcome import Outcome
from gdro.core.signals import moving_average
from gdro.core.types import Floats, Ints


@dataclass(kw_only=True, eq=False)
class Boltzmann(CategorySelector):
    """Attributes:
    temperature: of the softmax over scores.
    """

    temperature: float = 1.0

    def start(self) -> None:
        super().start()
        self.require(self.temperature >= 1e-6, "temperature", "must be at least 1e-6")

    def logits(self) -> Floats:
        return np.asarray(self.scores() / self.temperature)


@dataclass(kw_only=True, eq=False)
class SEC(Boltzmann):
    """SEC: a bandit whose reward is the mean absolute advantage.

    Source: Chen et al., arXiv 2505.14970: Q_c <- alpha r_c + (1 - alpha) Q_c, r_c the mean
    |advantage| of the category's rollouts in this batch; categories drawn with probability
    softmax(Q / tau). The rule is the paper's; alpha 0.5 in all its experiments, and tau by task:
    1.0 (Countdown), 0.4 (math), 0.2 (two-dimensional puzzles), read in a copy of its release's
    README. The default tau is Countdown's; mean |A| lies in [0, 1], so at 1.0 no category is drawn
    more than e times as often as another.

    Since mean |A| is 2 sqrt(p (1-p)) at success rate p, SEC favours the categories solved half of
    the time.

    Attributes:
        value_step: alpha, weight of the newest batch in Q.
    """

    value_step: float = 0.5

    name: ClassVar[str] = "sec"

    def start(self) -> None:
        super().start()
        self.require(0.0 < self.value_step <= 1.0, "value_step", "must lie in (0, 1]")
        self.state = {"value": np.zeros(self.categories)}

    def scores(self) -> Floats:
        return np.asarray(self.state["value"])

    def update(self, outcome: Outcome, before: Belief) -> None:
        category, counts = self.categories_of(outcome), outcome.counts
        total = mean_absolute_advantage(outcome) * counts
        rollouts = np.bincount(category, weights=counts, minlength=self.categories)
        sums = np.bincount(category, weights=total, minlength=self.categories)
        newest = np.where(rollouts > 0, sums / np.maximum(rollouts, 1.0), np.nan)
        self.state["value"] = moving_average(self.state["value"], newest, self.value_step)


@dataclass(kw_only=True, eq=False)
class DUMP(Boltzmann):
    """DUMP: a UCB score per category, mean absolute advantage of its last rollouts plus a bonus for
    little-tried ones.

    Source: Wang et al., arXiv 2504.09710; read in the release: window of 300 rollouts, bonus sqrt(2
    ln(T + 1) / (n_c + 1)) with T rollouts in all and n_c of the category, softmax at temperature
    0.1.

    The window keeps a category's newest 300 absolute advantages; those of one batch enter in the
    order of the prompts' keys, so that the order of the batch does not matter.

    Attributes:
        span: rollouts of a category that its mean looks back on.
    """

    temperature: float = 0.1
    span: int = 300

    name: ClassVar[str] = "dump"

    def start(self) -> None:
        super().start()
        self.require(1 <= self.span <= 100_000, "span", "must lie in 1..100000")
        self.state = {
            "recent": np.zeros((self.categories, self.span)),
            "tried": np.zeros(self.categories, np.int64),
        }

    def scores(self) -> Floats:
        tried = self.state["tried"]
        mean = self.state["recent"].sum(axis=1) / np.clip(tried, 1, self.span)
        return np.asarray(
            mean + np.sqrt(2.0 * np.log(max(int(tried.sum()), 1) + 1.0) / (tried + 1.0))
        )

    def update(self, outcome: Outcome, before: Belief) -> None:
        category, counts = self.categories_of(outcome), outcome.counts
        order = np.lexsort((outcome.prompts.keys, category))
        chosen, first = np.unique(category[order], return_index=True)
        fresh = np.add.reduceat(counts[order], first)
        newer = np.repeat(np.cumsum(fresh), np.diff(first, append=len(order))) - np.cumsum(
            counts[order]
        )
        kept = order[newer < self.span]
        groups = outcome.unit.map(_absolute_advantages(outcome)).take(kept)
        values = groups.values[
            np.lexsort((groups.values, np.repeat(np.arange(len(kept)), groups.counts)))
        ]
        ends = np.cumsum(np.bincount(category[kept], weights=groups.counts)[chosen]).astype(
            np.int64
        )
        for place, index in enumerate(chosen.tolist()):
            self._push(
                index,
                values[: ends[place]][-min(int(fresh[place]), self.span) :],
                int(fresh[place]),
            )

    def _push(self, category: int, newest: Floats, fresh: int) -> None:
        """Enter `fresh` values, of which the newest, as many as the window holds, are given."""
        end = int(self.state["tried"][category]) + fresh
        places: Ints = np.arange(end - len(newest), end) % self.span
        self.state["recent"][category, places] = newest
        self.state["tried"][category] = end


def _absolute_advantages(outcome: Outcome) -> Floats:
    """(R,) |r - mean| / population std of its group; 0 in a group without gradient."""
    unit = outcome.unit
    std = np.where(outcome.live, np.sqrt(outcome.squares / unit.counts), 0.0)
    centred = np.abs(unit.values - unit.spread(unit.mean()))
    return np.divide(
        centred, unit.spread(std), out=np.zeros(len(centred)), where=unit.spread(std) > 0.0
    )
