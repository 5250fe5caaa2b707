"""DUMP: a UCB score per category, mean absolute advantage of its last rollouts plus a bonus for
little-tried ones.

Source: Wang et al., arXiv 2504.09710; read in the release: window of 300 rollouts, bonus sqrt(2
ln(T + 1) / (n_c + 1)) with T rollouts in all and n_c of the category, softmax at temperature 0.1.

The window keeps a category's newest 300 absolute advantages; those of one batch enter in the order
of the prompts' keys, so that the order of the batch does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.contrib.categories import Boltzmann
from gdro.core.belief import Belief
from gdro.core.outcome import Outcome
from gdro.core.types import Floats, Ints


@dataclass(kw_only=True, eq=False)
class DUMP(Boltzmann):
    """Attributes:
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
