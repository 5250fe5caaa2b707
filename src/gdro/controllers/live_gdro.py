"""Live-GDRO: the data adversary chooses the prompts, among those likely to have a gradient, before any rollout.

Prompt-GDRO multiplies the gradients of a batch that was drawn evenly. On heavy-tailed data most of that batch is
solved: its groups are all right and have no gradient whatever their weight, and a large weight on the few that have one
makes a noisy step. Here the same weights act one stage earlier. Among the candidates, prompt i is drawn with a chance
in proportion to

    omega_b(i) * s_i * e^(-v_i / R) * N(i)^(alpha - 1),      s_i = 1 - E[p_i^n] - E[(1 - p_i)^n],   p_i ~ Beta(a_i, b_i)

the adversary's weight of its bin (eq. 14) times the probability that its rewards will differ times what is left to
learn from it after v_i visits times a power of the number N(i) of candidates from its source, without replacement
(`gdro.core.hashing.exponentials`); its gradient then weighs 1. In expectation a prompt counts in proportion to the
product, as it would with that weight in a batch drawn evenly, but through live groups.

alpha, `size_power`, says what is even before the adversary and the chances come in: a source with a share q of the
candidates has q^alpha / sum q^alpha of the draws. At 1 all prompts count alike, and a tail has little; at 0 all sources
do, and the few prompts of one that cannot be learnt have as much as those of one with half of the data. Between them,
as where languages of unequal size train one model (Conneau et al., 2020, arXiv 1911.02116), a tail gains much and what
is common loses little.

An adversary that may repeat a prompt at will has a model learn it by heart: its own rate rises, its source's does not.
So v visits are worth R (1 - e^(-v / R)) first ones, as repeated data are in pre-training (Muennighoff et al., 2023,
arXiv 2305.16264), and the next is worth the slope, e^(-v / R), with R = `repeats`. Where visits come in
proportion to g e^(-v / R), v = R ln(1 + g t / R) after a time t: of two prompts the one with k times the chance is
never more than R ln k visits ahead, and counts k times as much as long as both are new.

The adversary plays within bounds: a share `explore` of each draw goes to all candidates evenly. Of every prompt that
share of its weight in the data is kept, so the choice is as robust as one may want and forgets nothing: it is Group
DRO over the mixtures q = explore * data + (1 - explore) * any.

Live is not yet learnable: prompts that a guess solves are live for ever. With `pace` the chance of a source's prompts
is also multiplied by how fast its success rate rises per live group (`gdro.core.learning_progress`).

Rewards are compared with the posterior too (`baseline`, `gdro.controllers.posterior_gdro`): what a source rarely gets
right pushes harder than what it often does, and a group that agrees pushes by how much that was to be expected.

With `allot: live` the compute adversary plays on the same posterior: the chosen prompts get their rollouts such that
the expected number of live groups is the largest of all plans with that total (greedy, optimal since s_i is concave in
n). A prompt solved half of the time hardly gains from a fourth rollout; one that is solved seldom does.

Solved prompts and hopeless ones are drawn rarely, not never: their posterior ages back towards their source, so what
was forgotten, or has come into reach, is found again. A prompt that was never seen is judged by its source, where
methods with one posterior for each prompt know nothing (`gdro.core.source_posterior`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.controllers.posterior_gdro import Baseline, PosteriorGDRO
from gdro.core.errors import OptionError
from gdro.core.greedy import greedy_allocation
from gdro.core.hashing import Keys, exponentials
from gdro.core.learning_progress import LearningProgress
from gdro.core.outcome import Outcome
from gdro.core.signals import bin_demand
from gdro.core.source_posterior import live_gains, live_probability
from gdro.core.state import State, read_state
from gdro.core.types import Floats, Ints, Metric

LEAST = 1e-9
"""Least factor of a chance, so that a batch can be filled when all others run out."""
Acts = Literal["selection", "gradient", "both"]
Allot = Literal["uniform", "live"]


@dataclass(kw_only=True, eq=False)
class LiveGDRO(PosteriorGDRO):
    """Selects.

    Attributes:
        baseline: posterior, or group for the engine's own advantages.
        acts: where the adversary's weights act: on the choice of prompts (selection), on their advantages (gradient;
            prompts are then chosen by the chance of a live group alone), or on both.
        allot: rollouts of the chosen prompts: uniform, or live, which maximises the expected number of live groups.
        size_power: alpha, in [0, 1]: a source counts by this power of its size; 1, all prompts alike; 0, all sources.
        explore: share of each draw that goes to all candidates evenly, in [0, 1]: what the adversary cannot take from
            the data as they are.
        repeats: R, visits after which another one is worth 1 / e of the first; None: all visits are worth the same.
        pace: rise of a source's success rate per live group that is expected before it has data, in (0, 1]; a source
            that rises faster is drawn more, one that stands still a tenth as much. None: progress does not count.
    """

    baseline: Baseline = "posterior"
    acts: Acts = "selection"
    allot: Allot = "uniform"
    size_power: float = 0.75
    explore: float = 0.1
    repeats: float | None = 5.0
    pace: float | None = None

    name: ClassVar[str] = "live_gdro"
    selects: ClassVar[bool] = True
    pool_factor: ClassVar[int] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.acts not in ("selection", "gradient", "both"):
            raise OptionError(f"acts={self.acts!r} is none of selection, gradient, both")
        if self.allot not in ("uniform", "live"):
            raise OptionError(f"allot={self.allot!r} is none of uniform, live")
        if not 0.0 <= self.size_power <= 1.0:
            raise OptionError(f"size_power={self.size_power:g} must lie in [0, 1]; 1: prompts alike, 0: sources alike")
        if not 0.0 <= self.explore <= 1.0:
            raise OptionError(f"explore={self.explore:g} must lie in [0, 1]; it is a share of the draws")
        if self.repeats is not None and self.repeats <= 0.0:
            raise OptionError(f"repeats={self.repeats:g} must be above 0, or None; it is a number of visits")
        self.progress = None if self.pace is None else LearningProgress(self.pace)

    def _allocate(self, ids: tuple[str, ...], rows: Ints, bins: Ints, keys: Keys) -> tuple[Ints, Floats]:
        if self.allot == "uniform":
            return super()._allocate(ids, rows, bins, keys)
        a, b = self.sources.posterior(ids, rows, self.steps_seen)
        spare = (self.mean_rollouts - self.min_rollouts) * len(rows)
        gains = live_gains(a, b, self.min_rollouts, self.max_rollouts)
        rollouts = self.min_rollouts + greedy_allocation(gains, spare, keys)
        return rollouts, bin_demand(rollouts, bins, self.bins, self.mean_rollouts)

    def _rank(self, ids: tuple[str, ...], rows: Ints, keys: Keys) -> Floats:
        return exponentials(keys) / self._chances(ids, rows)

    def _chances(self, ids: tuple[str, ...], rows: Ints) -> Floats:
        """(N,) chance of each candidate to be drawn first; they sum to 1."""
        a, b = self.sources.posterior(ids, rows, self.steps_seen)
        chance = np.maximum(live_probability(a, b, self.mean_rollouts), LEAST)
        chance /= self.sources.sizes(ids) ** (1.0 - self.size_power)
        if self.acts != "gradient":
            chance *= self.prompt_game.bin_weights()[self._bins(a / (a + b))]
        if self.progress is not None:
            chance *= self.progress.of(self.sources.places(ids))
        if self.repeats is not None:
            chance *= worth_of_next(self.classifier.visits_of(rows), self.repeats)
        return np.asarray((1.0 - self.explore) * chance / chance.sum() + self.explore / len(ids))

    def _weigh(self, outcome: Outcome) -> Floats:
        weights = super()._weigh(outcome)
        return np.ones(len(weights)) if self.acts == "selection" else weights

    def _learn(self, outcome: Outcome) -> None:
        if self.progress is None:
            return super()._learn(outcome)
        live = live_probability(*self._before(outcome), self.mean_rollouts)
        first = self.classifier.visits_of(outcome.plan.rows) == 0
        super()._learn(outcome)
        self.progress.learn(self.sources.places(outcome.plan.prompt_ids), first, live, outcome.unit.mean())

    def _method_metrics(self) -> dict[str, Metric]:
        own: dict[str, Metric] = {}
        if self.progress is not None:
            own["sources_standing_still"] = self.progress.standing_still()
        return super()._method_metrics() | own

    def _state(self) -> State:
        return super()._state() | ({} if self.progress is None else {"progress": self.progress.state_dict()})

    def _load_state(self, state: State) -> None:
        super()._load_state(state)
        if self.progress is not None:
            self.progress.load_state_dict(read_state(state, "progress"))


def worth_of_next(visits: Ints, repeats: float) -> Floats:
    """(M,) worth of one more visit, e^(-v / R), relative to that of the least visited; above 0 however many visits."""
    return np.asarray(np.maximum(np.exp(-(visits - visits.min()) / repeats), LEAST))
