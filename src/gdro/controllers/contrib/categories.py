"""What SEC, DUMP and MT-GRPO share: prompts in categories, a probability for each, a batch
drawn by it.

A category is a difficulty bin of the estimator (`bin`; prompts without a visit form one more), or
the prompt's source (`source`, e.g. `algebra` of `algebra/17`). At most MOST_SOURCES sources are
told apart; an id with yet another one is an error.

A batch is drawn without replacement: candidate i of category c weighs q_c / N_c, N_c being the
candidates of c, and the m smallest -log(u_i) / weight_i win (Efraimidis and Spirakis, 2006). The
first draw is thus exactly: a category by q, then one of its candidates at random; later draws the
same among those left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gdro.controllers.part import Batch, Selector
from gdro.core.adversaries import softmax
from gdro.core.errors import OptionError
from gdro.core.hashing import exponentials
from gdro.core.outcome import Outcome
from gdro.core.prompts import Prompts
from gdro.core.types import UNSEEN, Floats, Ints, Metric

LEAST = 1e-12
"""Least probability of a category, so that a batch can be filled when all others run out."""
MOST_SOURCES = 256
Category = Literal["bin", "source"]


@dataclass(kw_only=True, eq=False)
class CategorySelector(Selector):
    """A softmax over categories. Subclasses give `scores` and learn them.

    Attributes:
        category: bin or source.
    """

    category: Category = "bin"

    def start(self) -> None:
        self.categories = self.facts.bins + 1 if self.category == "bin" else MOST_SOURCES

    def scores(self) -> Floats:
        """(C,) score of each category; a category never drawn from has the score of a new one."""
        raise NotImplementedError

    def logits(self) -> Floats:
        """(C,) logarithms of the categories' chances, up to a constant."""
        return self.scores()

    def admit(self, prompts: Prompts) -> None:
        if self.category == "source":
            self._sources(prompts)

    def category_of(self, prompts: Prompts, bins: Ints) -> Ints:
        """(N,) categories of prompts; those in no bin, and sources not met yet, come last."""
        if self.category == "bin":
            return np.where(bins == UNSEEN, self.facts.bins, bins)
        return self._sources(prompts)

    def _sources(self, prompts: Prompts) -> Ints:
        """(N,) places of the prompts' sources; new ones come after all others."""
        known = len(self.facts.table.sources)
        fresh = prompts.sources < 0
        new, place = np.unique(prompts.groups[fresh], return_inverse=True)
        if known + len(new) > MOST_SOURCES:
            raise OptionError(
                f"category='source' tells at most {MOST_SOURCES} sources apart, the ids have"
                f" {known + len(new)} before their last '/'; take category='bin'"
            )
        category = prompts.sources.copy()
        category[fresh] = known + place
        return category

    def rank(self, batch: Batch) -> Floats:
        category = self.category_of(batch.prompts, batch.belief.bins)
        present, place, size = np.unique(category, return_inverse=True, return_counts=True)
        q = np.maximum(softmax(self.logits()[present]), LEAST)
        return np.asarray(exponentials(batch.keys) * (size / q)[place])

    def metrics(self) -> dict[str, Metric]:
        if self.category == "source":
            return {"categories": len(self.facts.table.sources)}
        scores = self.scores()
        return {"category_score": scores[:-1].tolist(), "category_score_unseen": float(scores[-1])}

    def categories_of(self, outcome: Outcome) -> Ints:
        """(M,) categories of an observed batch."""
        return self.category_of(outcome.prompts, outcome.bins)
