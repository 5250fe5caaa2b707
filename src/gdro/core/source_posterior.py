"""Each prompt's success probability as a Beta posterior with its source as the prior, for prompts
seen once or twice.

Prompts of a source (`gdro.core.prompts.source_of`) share a Beta(m K, (1 - m) K) prior, known by its
first two moments E[p] = m and E[p^2]; a prompt's own rollouts come on top and age, since the policy
moves on while it is not visited:

    a = m K + sum of r * ageing^(steps since)  b = (1 - m) K + sum of (1 - r) * ageing^(steps since)

with rewards r rescaled to [0, 1]; p is a prompt's expected r. Moments are learned from prediction
errors. A visit of n rollouts has unbiased estimates, the mean r of p and the mean of r_j r_k over
its pairs of p^2; their mean error against the posterior's own E[p] and E[p^2] moves the source's
moments. While the posterior is right these errors have mean zero for every prompt, WHICHEVER
prompts are chosen, so a method that visits some prompts more often does not bend the prior (a plain
mean over visits would); when the policy learns, all prompts of the source rise with the visited
ones.

K comes out small for a source of prompts that differ (0 or 1: K near 1/2) and large for one of like
prompts. The prior of a source without a visit is Beta(1/4, 1/4), as in gdro.core.difficulty, and
counts as one visit.
"""

from __future__ import annotations

import numpy as np

from gdro.core.belief import OwnEvidence, beta_square
from gdro.core.difficulty import PRIOR
from gdro.core.errors import OptionError, StateError
from gdro.core.prompts import Prompts, PromptTable
from gdro.core.ragged import Ragged
from gdro.core.state import ANY, State, read_array
from gdro.core.types import Floats, Ints

STRENGTH = (2.0 * PRIOR, 32.0)
"""Least and most pseudo-rollouts K of a source's prior."""
MARGIN = 1.0 / 512.0
"""A source's mean stays this far from 0 and 1, so that no prompt is ever certain."""


class SourcePosterior:
    """Posteriors of the prompts of a table; their own evidence is kept in columns of it
    (`OwnEvidence`).

    Args:
        table: the prompts.
        ageing: weight of a rollout relative to one a step later, in (0, 1].
        window: visits over which a source's moments are averaged, at least 1.

    Raises:
        OptionError: names the option that is out of range.
    """

    def __init__(self, table: PromptTable, ageing: float = 0.99, window: int = 40) -> None:
        if window < 1:
            raise OptionError(f"window={window} must be at least 1 visit")
        self.table, self.window = table, window
        self.own = OwnEvidence(table, ageing)
        self.mean, self.square, self.visits = np.empty(0), np.empty(0), np.empty(0)

    def prior(self, sources: Ints) -> tuple[Floats, Floats]:
        """(M,) a and b of sources by their places in the table; those without a visit, and -1, as a
        new one."""
        known_or_new = np.where(sources < len(self.mean), sources, -1)
        mean, square = np.append(self.mean, 0.5), np.append(self.square, beta_square(PRIOR, PRIOR))
        strength = np.clip(mean * (1.0 - mean) / (square - mean * mean) - 1.0, *STRENGTH)
        return (mean * strength)[known_or_new], ((1.0 - mean) * strength)[known_or_new]

    def posterior(self, prompts: Prompts, now: int) -> tuple[Floats, Floats]:
        """(M,) a and b of prompts at step `now`."""
        return self.own.on_top_of(self.prior(prompts.sources), prompts, now)

    def learn(self, prompts: Prompts, now: int, unit: Ragged, a: Floats, b: Floats) -> None:
        """Take in one visit of each of M different planned prompts.

        Args:
            unit: their rewards in [0, 1], in M groups.
            a, b: (M,) their posterior before the visit, as `posterior(prompts, now)` gives it.
        """
        self._make_room(len(self.table.sources))
        source, visited = np.unique(prompts.sources, return_inverse=True)
        reward, total = unit.sum(), unit.counts
        several = total > 1
        self._move(source, visited, self.mean, reward / total - a / (a + b), np.ones(len(total)))
        self._move(
            source,
            visited,
            self.square,
            unit.pair_products() - beta_square(a, b),
            several.astype(np.float64),
        )
        size = np.bincount(visited)
        self.visits[source] = np.minimum(self.visits[source] + size, self.window)
        self._keep_proper()
        self.own.add(prompts.rows, now, reward, total)

    def _move(
        self, source: Ints, visited: Ints, moment: Floats, error: Floats, use: Floats
    ) -> None:
        """Move a moment of the visited sources by the mean error of their visits."""
        size = np.bincount(visited, weights=use)
        total = np.bincount(visited, weights=error * use)
        moment[source] += total / np.maximum(
            np.minimum(self.visits[source] + size, self.window), size.clip(min=1.0)
        )

    def _keep_proper(self) -> None:
        """Moments of a Beta distribution with K within STRENGTH."""
        self.mean = np.clip(self.mean, MARGIN, 1.0 - MARGIN)
        spread = self.mean * (1.0 - self.mean)
        least, most = (self.mean**2 + spread / (1.0 + strength) for strength in reversed(STRENGTH))
        self.square = np.clip(self.square, least, most)

    def _make_room(self, sources: int) -> None:
        """Give sources that are new to the table the moments of a prior, which count as one
        visit."""
        fresh = sources - len(self.mean)
        self.mean = np.append(self.mean, np.full(fresh, 0.5))
        self.square = np.append(self.square, np.full(fresh, beta_square(PRIOR, PRIOR)))
        self.visits = np.append(self.visits, np.ones(fresh))

    def state_dict(self) -> State:
        """The sources' moments; the prompts' own evidence is in the table."""
        return {
            "mean": self.mean.copy(),
            "square": self.square.copy(),
            "visits": self.visits.copy(),
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave; raises StateError naming the key that is missing or
        damaged."""
        mean, square, visits = (
            read_array(state, key, np.empty(0), rows=ANY) for key in ("mean", "square", "visits")
        )
        fits = len(mean) == len(square) == len(visits) <= len(self.table.sources)
        proper = fits and all(np.isfinite(array).all() for array in (mean, square, visits))
        if (
            not proper
            or ((mean <= 0.0) | (mean >= 1.0) | (square <= mean**2) | (square >= mean)).any()
        ):
            raise StateError(
                "state keys 'mean', 'square': not the moments of these sources; load an older"
                " checkpoint"
            )
        self.mean, self.square, self.visits = mean, square, visits
