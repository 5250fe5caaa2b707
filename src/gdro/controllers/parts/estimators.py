"""Estimators: what is known of a prompt. Each owns the only bins of its controller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np

from gdro.controllers.part import BETA, SOURCE, Estimator
from gdro.core.belief import Belief
from gdro.core.difficulty import PRIOR, DifficultyClassifier, Statistic, Visits, bins_at
from gdro.core.errors import OptionError
from gdro.core.outcome import Outcome
from gdro.core.prompts import Prompts
from gdro.core.source_posterior import SourcePosterior as BySource
from gdro.core.state import State
from gdro.core.text_posterior import TextPosterior as ByText
from gdro.core.types import UNSEEN, Floats, Ints, Metric


@dataclass(kw_only=True, eq=False)
class Classifier(Estimator):
    """The paper's Online Difficulty Classifier (eqs. 10 and 11), with a choice of statistics.

    A prompt without a visit is UNSEEN: a state of its own, not a hard prompt.

    Attributes:
        statistic: any_of_n (the paper's), pass_at_k, mean_reward or beta (see
            gdro.core.difficulty).
        window: average the last so many visits of a prompt; None to discount instead.
        discount: weight of a visit relative to the next one, where there is no window; None for
            0.9.
        k: the k of statistic pass_at_k, and of no other; None for 8.
        hysteresis: margin by which an estimate must pass an edge before its prompt changes bin.
    """

    statistic: Statistic = "beta"
    window: int | None = None
    discount: float | None = None
    k: int | None = None
    hysteresis: float = 0.03

    name: ClassVar[str] = "classifier"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is not None and self.discount is not None:
            raise OptionError(
                f"window={self.window} and discount={self.discount:g} exclude each other; leave"
                " one out"
            )
        if self.k is not None and self.statistic != "pass_at_k":
            raise OptionError(
                f"k={self.k} is of statistic='pass_at_k'; leave it out for {self.statistic!r}"
            )

    @property
    def gives(self) -> frozenset[str]:
        return frozenset({BETA} if self.statistic == "beta" and self.window is None else ())

    def start(self) -> None:
        self.classifier = DifficultyClassifier(
            self.facts.table,
            self.bins,
            self.statistic,
            self.window,
            0.9 if self.discount is None else self.discount,
            8 if self.k is None else self.k,
            self.hysteresis,
        )

    def predict(self, prompts: Prompts, now: int) -> Belief:
        rows = prompts.rows
        classifier, table = self.classifier, self.facts.table
        a = b = None
        if self.gives:
            right, total = table.read("value_sum", rows), table.read("visit_sum", rows)
            a, b = right + PRIOR, total - right + PRIOR
        return Belief(
            classifier.bins_of(rows),
            classifier.visits_of(rows),
            classifier.estimates_of(rows),
            a,
            b,
        )

    def update(self, outcome: Outcome, before: Belief) -> None:
        correct = outcome.correct
        self.classifier.record(outcome.prompts.rows, Visits(correct, outcome.counts, outcome.mean))

    def mass(self) -> Ints:
        return self.classifier.mass

    def after_load(self) -> None:
        self.classifier.recount()


@dataclass(kw_only=True, eq=False)
class PlacedEstimator(Estimator):
    """What the estimators with a posterior share: bins by its mean, and a count of prompts by
    bin."""

    def start(self) -> None:
        self.facts.table.add_column("visits", np.int32, 0)
        self.facts.table.add_column("bin", np.int16, UNSEEN)
        self._mass = np.zeros(self.facts.bins, np.int64)

    def _place(self, rows: Ints, rates: Floats) -> None:
        """Count a visit of prompts whose rates are now these."""
        column = self.facts.table.column
        new, old = bins_at(self.facts.edges, rates), column("bin")[rows].astype(np.int64)
        left = np.bincount(old[old != UNSEEN], minlength=self.facts.bins)
        self._mass += np.bincount(new, minlength=self.facts.bins) - left
        column("bin")[rows] = new
        column("visits")[rows] += 1

    def mass(self) -> Ints:
        return self._mass

    def after_load(self) -> None:
        bins = self.facts.table.column("bin").astype(np.int64)
        self._mass = np.bincount(bins[bins != UNSEEN], minlength=self.facts.bins)


@dataclass(kw_only=True, eq=False)
class PromptPosterior(PlacedEstimator):
    """A Beta posterior over each prompt's own success probability, forgetting with every visit.

        a <- decay a + (1 - decay) prior + correct        b <- decay b + (1 - decay) prior + wrong

    The update of MoPPS (arXiv 2507.04632; read in its release): with decay 1 it is the plain
    conjugate update, and without visits the posterior stays at the prior. The defaults are
    Jeffreys' prior and slow forgetting. MoPPS's own (prior 1, decay 0.5) forget so much that
    Neyman's plans by them lower the true variance of a simulated batch half as much
    (docs/performance.md).

    Attributes:
        prior: a and b of the Beta prior.
        decay: weight of all that was known before, at each new visit.
    """

    prior: float = 0.5
    decay: float = 0.9

    name: ClassVar[str] = "prompt_posterior"

    @property
    def gives(self) -> frozenset[str]:
        return frozenset({BETA})

    def start(self) -> None:
        super().start()
        self.require(self.prior > 0.0, "prior", "must be positive")
        self.require(0.0 <= self.decay <= 1.0, "decay", "must lie in [0, 1]")
        for name in ("a", "b"):
            self.facts.table.add_column(name, np.float64, self.prior)

    def predict(self, prompts: Prompts, now: int) -> Belief:
        table, rows = self.facts.table, prompts.rows
        a, b = table.read("a", rows), table.read("b", rows)
        visits = table.read("visits", rows).astype(np.int64)
        rate = np.where(visits > 0, a / (a + b), np.nan)
        bins = np.where(visits > 0, bins_at(self.facts.edges, rate), UNSEEN)
        return Belief(bins, visits, rate, a, b)

    def update(self, outcome: Outcome, before: Belief) -> None:
        rows, correct = outcome.prompts.rows, outcome.correct
        column = self.facts.table.column
        for name, count in (("a", correct), ("b", outcome.counts - correct)):
            held = column(name)
            held[rows] = self.decay * held[rows] + (1.0 - self.decay) * self.prior + count
        a, b = column("a")[rows], column("b")[rows]
        self._place(rows, a / (a + b))


Prior = TypeVar("Prior", BySource, ByText)


@dataclass(kw_only=True, eq=False)
class WithPrior(PlacedEstimator, Generic[Prior]):
    """What the two posteriors share that know something of every prompt, also before its first
    visit: no prompt is ever UNSEEN."""

    def start(self) -> None:
        super().start()
        self.posterior: Prior = self.make()

    def make(self) -> Prior:
        """The posterior of no data."""
        raise NotImplementedError

    @property
    def gives(self) -> frozenset[str]:
        return frozenset({BETA, SOURCE})

    def predict(self, prompts: Prompts, now: int) -> Belief:
        a, b = self.posterior.posterior(prompts, now)
        rate = a / (a + b)
        visits = self.facts.table.read("visits", prompts.rows).astype(np.int64)
        return Belief(bins_at(self.facts.edges, rate), visits, rate, a, b)

    def update(self, outcome: Outcome, before: Belief) -> None:
        self.posterior.learn(outcome.prompts, outcome.step, outcome.unit, *before.beta)
        self._place(outcome.prompts.rows, before.mean_after(outcome))

    def state_dict(self) -> State:
        return self.posterior.state_dict()

    def load_state_dict(self, state: State) -> None:
        self.posterior.load_state_dict(state)


@dataclass(kw_only=True, eq=False)
class SourcePosterior(WithPrior[BySource]):
    """A Beta posterior of each prompt with its source as the prior (`gdro.core.source_posterior`).

    Attributes:
        ageing: weight of a rollout relative to one a step later.
        window: visits over which a source's success rate and its spread are averaged.
    """

    ageing: float = 0.99
    window: int = 40

    name: ClassVar[str] = "source_posterior"

    def make(self) -> BySource:
        return BySource(self.facts.table, self.ageing, self.window)

    def metrics(self) -> dict[str, Metric]:
        return {"sources": len(self.posterior.mean)}


@dataclass(kw_only=True, eq=False)
class TextPosterior(WithPrior[ByText]):
    """A Beta posterior of each prompt with its text, and its source's name where it has one, as the
    prior (`gdro.core.text_posterior`): for data without sources, or with sources that differ
    inside. The engine tells it the texts (`Controller.describe`).

    Attributes:
        ageing: weight of a rollout relative to one a step later.
        window: visits over which what texts tell is averaged.
    """

    ageing: float = 0.99
    window: int = 512

    name: ClassVar[str] = "text_posterior"

    @property
    def reads_texts(self) -> bool:
        return True

    def make(self) -> ByText:
        return ByText(self.facts.table, self.facts.texts, self.ageing, self.window)

    def metrics(self) -> dict[str, Metric]:
        return {"prior_strength": self.posterior.strength}
