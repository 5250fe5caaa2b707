"""Prompt-GDRO for prompts seen once or twice: bins, and baselines if wanted, by a posterior that knows their source.

Prompt-GDRO weighs a prompt by the bin in which earlier visits left it: with 1 on the first visit, by a stale bin later.
On data of which a run sees each prompt once or twice that is no weight at all, or one that comes late and swings. Here
two things come from a posterior (`gdro.core.source_posterior`), Beta(a, b) before a visit of n rollouts with the total
reward R:

- the BIN is that of the posterior mean mu = (a + R) / (a + b + n), this very visit included;
- the BASELINE of rollout j is the posterior mean without it, (a + R - r_j) / (a + b + n - 1). It does not depend on
  r_j, so it biases nothing; a + b = 0 is RLOO, a + b -> infinity a fixed value function. The mean of a few other
  rollouts is noisy and leaves no gradient where all rewards agree; this one shrinks it towards what is known. Since

      r_j - (a + R - r_j) / (T - 1) = (r_j - mu) T / (T - 1),        T = a + b + n,

  it is one number a prompt. Advantages are divided by the standard deviation sqrt(mu (1 - mu)), as GRPO's are.
  Baselines that shrink are known to lower the variance: towards the mean of the batch (arXiv 2511.03710), of all data
  (2602.05165), by a prompt's discounted history (2603.18444); here towards its source's, with its own history.

What weights that depend on the visit optimise: `gdro.core.theory.objective_slope`. Falling weights give a falling slope
U'(p), so the noise of one visit smooths the weighting and cannot turn it over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from gdro.controllers.prompt_gdro import PromptGDRO
from gdro.core.errors import OptionError
from gdro.core.outcome import Outcome
from gdro.core.source_posterior import SourcePosterior, live_probability
from gdro.core.state import State, read_state
from gdro.core.types import Floats, Ints, Metric

Baseline = Literal["posterior", "group"]


@dataclass(kw_only=True, eq=False)
class PosteriorGDRO(PromptGDRO):
    """A data adversary over bins of the posterior; rollouts uniform.

    Attributes:
        baseline: group for the engine's own advantages, or posterior.
        separator: ends the source in a prompt id; the source is everything before the last one.
        ageing: weight of a rollout relative to one a step later.
        source_window: visits over which a source's success rate and its spread are averaged.
    """

    baseline: Baseline = "group"
    separator: str = "/"
    ageing: float = 0.99
    source_window: int = 40

    name: ClassVar[str] = "posterior_gdro"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.signal == "surrogate":
            raise OptionError("signal='surrogate' comes after the weights are given; take failure or variance here")
        if self.baseline not in ("posterior", "group"):
            raise OptionError(f"baseline={self.baseline!r} is none of posterior, group")
        self.sources = SourcePosterior(self.classifier.table, self.separator, self.ageing, self.source_window)
        self._live_predicted = float("nan")

    @property
    def sets_baselines(self) -> bool:
        return self.baseline == "posterior"

    def _weigh(self, outcome: Outcome) -> Floats:
        a, b = self._before(outcome)
        self._live_predicted = float(live_probability(a, b, self.mean_rollouts).mean())
        bins = self._bins(_mean_after(a, b, outcome))
        return self.prompt_game.play(replace(outcome, plan=replace(outcome.plan, bins=bins)))

    def _bins(self, rates: Floats) -> Ints:
        """(M,) bins of success rates."""
        return np.searchsorted(self.edges[1:-1], rates, side="right")

    def _advantage_terms(self, outcome: Outcome) -> tuple[Floats, Floats] | None:
        if self.baseline == "group":
            return None
        low, high = self.reward_range
        a, b = self._before(outcome)
        mean, total = _mean_after(a, b, outcome), a + b + outcome.unit.counts
        return low + (high - low) * mean, (high - low) * np.sqrt(mean * (1.0 - mean)) * (total - 1.0) / total

    def _learn(self, outcome: Outcome) -> None:
        super()._learn(outcome)
        self.sources.learn(outcome.plan.prompt_ids, outcome.plan.rows, self.steps_seen, outcome.unit)

    def _before(self, outcome: Outcome) -> tuple[Floats, Floats]:
        """(M,) a and b of the posterior before this visit."""
        return self.sources.posterior(outcome.plan.prompt_ids, outcome.plan.rows, self.steps_seen)

    def _method_metrics(self) -> dict[str, Metric]:
        own: dict[str, Metric] = {"sources": len(self.sources.sources), "live_predicted": self._live_predicted}
        return super()._method_metrics() | own

    def _state(self) -> State:
        return super()._state() | {"source_posterior": self.sources.state_dict()}

    def _load_state(self, state: State) -> None:
        super()._load_state(state)
        self.sources.load_state_dict(read_state(state, "source_posterior"))


def _mean_after(a: Floats, b: Floats, outcome: Outcome) -> Floats:
    """(M,) mean of the posterior Beta(a, b) after this visit."""
    return np.asarray((a + outcome.unit.sum()) / (a + b + outcome.unit.counts))
