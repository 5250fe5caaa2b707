"""What SEC and DUMP share: prompts in categories, a probability for each, a batch drawn by it.

A category is a difficulty bin of the controller (`bin`; prompts without a visit form one more), or the part of the id
before the last separator (`prefix`, e.g. `algebra` of `algebra/17`). At most `most_categories` prefixes are told
apart; an id with yet another one is an error.

A batch is drawn without replacement: candidate i of category c weighs q_c / N_c, N_c being the candidates of c, and the
m smallest -log(u_i) / weight_i win (Efraimidis and Spirakis, 2006). The first draw is thus exactly: a category by q,
then one of its candidates at random; later draws the same among those left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.controllers.base import Controller
from gdro.core.adversaries import softmax
from gdro.core.errors import OptionError, StateError
from gdro.core.hashing import Keys, exponentials
from gdro.core.outcome import Outcome
from gdro.core.prompts import source_of
from gdro.core.state import State
from gdro.core.types import UNSEEN, Floats, Ints, Metric

LEAST = 1e-12
"""Least probability of a category, so that a batch can be filled when all others run out."""


@dataclass(kw_only=True, eq=False)
class CategoryController(Controller):
    """A bandit over categories. Subclasses give `_scores` and learn them.

    Attributes:
        category: bin or prefix.
        separator: ends the prefix of an id.
        most_categories: room for prefixes.
        temperature: of the softmax over scores.
    """

    category: Literal["bin", "prefix"] = "bin"
    separator: str = "/"
    most_categories: int = 256
    temperature: float = 1.0

    selects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.category not in ("bin", "prefix"):
            raise OptionError(f"category={self.category!r} is none of bin, prefix")
        if self.category == "prefix" and not self.separator:
            raise OptionError("separator='' must not be empty")
        if not 1 <= self.most_categories <= 100_000:
            raise OptionError(f"most_categories={self.most_categories} must lie in 1..100000")
        if not self.temperature >= 1e-6:
            raise OptionError(f"temperature={self.temperature} must be at least 1e-6")
        self.prefixes: dict[str, int] = {}
        self.categories = self.bins + 1 if self.category == "bin" else self.most_categories

    def _scores(self) -> Floats:
        """(C,) score of each category; a category never drawn from has the score of a new one."""
        raise NotImplementedError

    def _categories(self, ids: tuple[str, ...], bins: Ints) -> Ints:
        """(N,) categories of prompts; UNSEEN bins, and new prefixes in order of their names, come last."""
        if self.category == "bin":
            return np.where(bins == UNSEEN, self.bins, bins)
        names = [source_of(prompt_id, self.separator) for prompt_id in ids]
        fresh = {name: len(self.prefixes) + k for k, name in enumerate(sorted(set(names) - self.prefixes.keys()))}
        if len(self.prefixes) + len(fresh) > self.most_categories:
            raise OptionError(
                f"most_categories={self.most_categories} is too small: the ids have {len(self.prefixes) + len(fresh)} "
                f"prefixes before {self.separator!r}"
            )
        known = self.prefixes | fresh
        return np.array([known[name] for name in names])

    def _admit(self, ids: tuple[str, ...], bins: Ints) -> None:
        self._categories(ids, bins)

    def _rank(self, ids: tuple[str, ...], rows: Ints, keys: Keys) -> Floats:
        category = self._categories(ids, self.classifier.bins_of(rows))
        present, place, size = np.unique(category, return_inverse=True, return_counts=True)
        q = np.maximum(softmax(self._scores()[present] / self.temperature), LEAST)
        return exponentials(keys) * (size / q)[place]

    def _enter(self, outcome: Outcome) -> Ints:
        """(M,) categories of an observed batch; remembers its new prefixes."""
        category = self._categories(outcome.plan.prompt_ids, outcome.bins)
        if self.category == "prefix":
            for prompt_id, index in zip(outcome.plan.prompt_ids, category.tolist(), strict=True):
                self.prefixes[source_of(prompt_id, self.separator)] = index
        return category

    def _method_metrics(self) -> dict[str, Metric]:
        if self.category == "prefix":
            return {"categories": len(self.prefixes)}
        scores = self._scores()
        return {"category_score": scores[:-1].tolist(), "category_score_unseen": float(scores[-1])}

    def _state(self) -> State:
        return {"prefixes": sorted(self.prefixes, key=self.prefixes.__getitem__)}

    def _load_state(self, state: State) -> None:
        names = state.get("prefixes")
        if not isinstance(names, list) or len(set(names)) != len(names) or len(names) > self.most_categories:
            raise StateError("state key 'prefixes' is not a list of different names; load an older checkpoint")
        self.prefixes = {name: index for index, name in enumerate(names)}
