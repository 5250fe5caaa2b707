"""DPPO's prompt level: leave out, before generation, prompts whose advantages were small, and weigh
the others so that the gradient is still that of all.

Source: Zhu et al., arXiv 2603.04135 (no code was released). Prompts of low historical |A| are
pruned with probability P; one that stays counts 1 / (1 - P), which multiplies the weight of the
completion level (`objective: dppo`). Unbiased, without KL term and clipping.

Ours: P is `prune` for a prompt whose score is below the mean score of all prompts seen, else 0; the
score is the running mean (.5) of the mean |A| of its visits; a prompt without a visit is never
pruned. The draw over the candidates is `gdro.core.pruning`'s. The batch is filled up with further
prompts that were let through, at random, where the paper trains on fewer: so a batch of M stands
for about M / mean(1 - P) prompts, and its mean gradient is that of all times 1 / mean(1 - P), at
most 1 / (1 - prune). Of ten candidates a prompt enough are let through to fill the batch, at
prune = .9 on average; with fewer (`candidates`) pruned ones may have to. The schedule of the
completion level (nothing is pruned in the last eighth of a run) is not applied: a controller does
not know how long a run is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.contrib.daro import mean_absolute_advantage
from gdro.controllers.part import Batch, Selector
from gdro.core.belief import Belief
from gdro.core.hashing import to_unit
from gdro.core.outcome import Outcome
from gdro.core.prompts import Prompts
from gdro.core.pruning import Design, check_prune, draw, smoothed_score
from gdro.core.types import Bools, Floats, Metric

UNSEEN_SCORE = -1.0


@dataclass(kw_only=True, eq=False)
class DPPO(Selector):
    """Attributes:
    prune: P of a prompt below the mean score, in [0, .9].
    design: systematic, bernoulli, or deterministic (biased; for comparison).
    """

    prune: float = 0.5
    design: Design = "systematic"

    name: ClassVar[str] = "dppo"
    pool_factor: ClassVar[int] = 10

    def start(self) -> None:
        check_prune(self.prune)
        self.facts.table.add_column("dppo_score", np.float64, UNSEEN_SCORE)

    def keep(self, prompts: Prompts) -> Floats:
        """(N,) chance 1 - P of each prompt to be let through."""
        score = self.facts.table.read("dppo_score", prompts.rows)
        return np.where(self._below(score), 1.0 - self.prune, 1.0)

    def _below(self, score: Floats) -> Bools:
        """(N,) prompts that were seen and score less than the mean of all that were."""
        known = self.facts.table.column("dppo_score")
        known = known[known != UNSEEN_SCORE]
        mean = float(known.mean()) if known.size else 0.0
        below = (score != UNSEEN_SCORE) & (score < mean * (1.0 - 1e-9))  # equal ones are not below
        return np.asarray(below)

    def rank(self, batch: Batch) -> Floats:
        keep, seed = self.keep(batch.prompts), self.facts.seed
        score = self.facts.table.read("dppo_score", batch.prompts.rows)
        through = draw(keep, batch.keys, seed, batch.number, self.design, score)
        return np.where(through, 0.0, 1.0) + to_unit(batch.keys)

    def inclusion(self, batch: Batch) -> Floats | None:
        return self.keep(batch.prompts)

    def update(self, outcome: Outcome, before: Belief) -> None:
        rows, column = outcome.prompts.rows, self.facts.table.column("dppo_score")
        seen = column[rows] != UNSEEN_SCORE
        old = np.where(seen, column[rows], np.nan)
        column[rows] = smoothed_score(old, mean_absolute_advantage(outcome))

    def metrics(self) -> dict[str, Metric]:
        score = self.facts.table.column("dppo_score")
        return {"prompts_at_risk": float(self._below(score).sum()) / max(len(score), 1)}
