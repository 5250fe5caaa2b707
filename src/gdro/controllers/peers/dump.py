"""DUMP: a UCB score per category, mean absolute advantage of its last rollouts plus a bonus for little-tried ones.

Source: Wang et al., arXiv 2504.09710; read in the release: window of 300 rollouts, bonus sqrt(2 ln(T + 1) / (n_c + 1))
with T rollouts in all and n_c of the category, softmax at temperature 0.1.

The window keeps a category's newest 300 absolute advantages; those of one batch enter in the order of the prompts'
keys, so that the order of the batch does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.peers.categories import CategoryController
from gdro.core.errors import OptionError
from gdro.core.outcome import Outcome
from gdro.core.state import State, read_array
from gdro.core.types import Floats, Ints


@dataclass(kw_only=True, eq=False)
class DUMP(CategoryController):
    """Selects; rollouts uniform, weights 1.

    Attributes:
        span: rollouts of a category that its mean looks back on.
    """

    temperature: float = 0.1
    span: int = 300

    name: ClassVar[str] = "dump"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.span <= 100_000:
            raise OptionError(f"span={self.span} must lie in 1..100000")
        self.recent = np.zeros((self.categories, self.span))
        self.tried = np.zeros(self.categories, np.int64)

    def _scores(self) -> Floats:
        mean = self.recent.sum(axis=1) / np.clip(self.tried, 1, self.span)
        return np.asarray(mean + np.sqrt(2.0 * np.log(max(int(self.tried.sum()), 1) + 1.0) / (self.tried + 1.0)))

    def _learn(self, outcome: Outcome) -> None:
        category = self._enter(outcome)
        order = np.lexsort((self.classifier.table.column("key")[outcome.plan.rows], category))
        chosen, first = np.unique(category[order], return_index=True)
        fresh = np.add.reduceat(outcome.unit.counts[order], first)
        newer = np.repeat(np.cumsum(fresh), np.diff(first, append=len(order))) - np.cumsum(outcome.unit.counts[order])
        kept = order[newer < self.span]
        groups = outcome.unit.map(_absolute_advantages(outcome)).take(kept)
        values = groups.values[np.lexsort((groups.values, np.repeat(np.arange(len(kept)), groups.counts)))]
        ends = np.cumsum(np.bincount(category[kept], weights=groups.counts)[chosen]).astype(np.int64)
        for place, index in enumerate(chosen.tolist()):
            self._push(index, values[: ends[place]][-min(int(fresh[place]), self.span) :], int(fresh[place]))

    def _push(self, category: int, newest: Floats, fresh: int) -> None:
        """Enter `fresh` values, of which the newest, as many as the window holds, are given."""
        end = int(self.tried[category]) + fresh
        places: Ints = np.arange(end - len(newest), end) % self.span
        self.recent[category, places] = newest
        self.tried[category] = end

    def _state(self) -> State:
        return super()._state() | {"recent": self.recent.copy(), "tried": self.tried.copy()}

    def _load_state(self, state: State) -> None:
        super()._load_state(state)
        self.recent, self.tried = read_array(state, "recent", self.recent), read_array(state, "tried", self.tried)


def _absolute_advantages(outcome: Outcome) -> Floats:
    """(R,) |r - mean| / population std of its group; 0 in a group without gradient."""
    unit = outcome.unit
    std = np.where(outcome.live, np.sqrt(outcome.squares / unit.counts), 0.0)
    centred = np.abs(unit.values - unit.spread(unit.mean()))
    return np.divide(centred, unit.spread(std), out=np.zeros(len(centred)), where=unit.spread(std) > 0.0)
