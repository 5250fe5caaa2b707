"""What several peers share: a Beta posterior over each prompt's own success probability, forgetting with every visit.

    a <- decay a + (1 - decay) prior + correct        b <- decay b + (1 - decay) prior + wrong

The update of MoPPS (arXiv 2507.04632; read in its release): with decay 1 it is the plain conjugate update, and without
visits the posterior stays at the prior. The expected variance of one binary reward is E[p (1-p)] = a b / ((a+b)
(a+b+1)).

The defaults are Jeffreys' prior and slow forgetting. MoPPS's own (prior 1, decay 0.5) forget so much that Neyman's
plans by them lower the true variance of a simulated batch half as much (docs/simulation.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdro.controllers.base import Controller
from gdro.core.errors import OptionError
from gdro.core.outcome import Outcome
from gdro.core.types import UNSEEN, Floats, Ints


@dataclass(kw_only=True, eq=False)
class PosteriorController(Controller):
    """A controller with a posterior per prompt, kept in two columns of the prompt table (16 bytes a prompt).

    Attributes:
        prior: a and b of the Beta prior.
        decay: weight of all that was known before, at each new visit.
    """

    prior: float = 0.5
    decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prior > 0.0:
            raise OptionError(f"prior={self.prior} must be positive")
        if not 0.0 <= self.decay <= 1.0:
            raise OptionError(f"decay={self.decay} must lie in [0, 1]")
        for name in ("a", "b"):
            self.classifier.table.add_column(name, np.float64, self.prior)

    def posterior(self, rows: Ints) -> tuple[Floats, Floats]:
        """(M,) a and b of prompts; the prior for a row of -1."""
        known = rows >= 0
        a, b = np.full(len(rows), self.prior), np.full(len(rows), self.prior)
        a[known] = self.classifier.table.column("a")[rows[known]]
        b[known] = self.classifier.table.column("b")[rows[known]]
        return a, b

    def _learn(self, outcome: Outcome) -> None:
        super()._learn(outcome)
        rows, correct = outcome.plan.rows, outcome.correct
        for name, count in (("a", correct), ("b", outcome.rewards.counts - correct)):
            column = self.classifier.table.column(name)
            column[rows] = self.decay * column[rows] + (1.0 - self.decay) * self.prior + count


def expected_variance(a: Floats, b: Floats) -> Floats:
    """(M,) E[p (1-p)] under Beta(a, b)."""
    return a * b / ((a + b) * (a + b + 1.0))


def seen_places(bins: Ints) -> Ints:
    """Places of the prompts with a visit; the others get nbar rollouts whatever the method."""
    return np.flatnonzero(bins != UNSEEN)
