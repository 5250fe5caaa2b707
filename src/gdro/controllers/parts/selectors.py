"""Selectors of gdro's own: which prompts to train on, before anything is generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.part import BETA, SOURCE, Batch, Selector
from gdro.controllers.pending import MAX_OUTSTANDING
from gdro.core.belief import Belief, live_probability
from gdro.core.errors import PlanError
from gdro.core.hashing import exponentials
from gdro.core.learning_progress import LearningProgress
from gdro.core.outcome import Outcome
from gdro.core.prompts import Prompts
from gdro.core.rollout_tokens import RolloutTokens
from gdro.core.state import State, read_state
from gdro.core.types import Floats, Ints, Metric

LEAST = 1e-9
"""Least factor of a chance, so that a batch can be filled when all others run out."""


@dataclass(kw_only=True, eq=False)
class Live(Selector):
    """Live-GDRO: the data adversary chooses the prompts, among those likely to have a gradient.

    Prompt-GDRO multiplies the gradients of a batch that was drawn evenly. On heavy-tailed data most
    of that batch is solved: its groups are all right and have no gradient whatever their weight,
    and a large weight on the few that have one makes a noisy step. Here the same weights act one
    stage earlier. Among the candidates, prompt i is drawn with a chance in proportion to

        omega_b(i) * s_i * e^(-v_i / R) * N(i)^(alpha - 1)
        s_i = 1 - E[p_i^n] - E[(1 - p_i)^n],    p_i ~ Beta(a_i, b_i)

    the adversary's weight of its bin (eq. 14) times the probability that its rewards will differ
    times what is left to learn from it after v_i visits times a power of the number N(i) of
    candidates from its source, without replacement (`gdro.core.hashing.exponentials`); its gradient
    then weighs 1.

    alpha, `size_power`, says what is even before the adversary and the chances come in: a source
    with a share q of the candidates has q^alpha / sum q^alpha of the draws. At 1 all prompts count
    alike, and a tail has little; at 0 all sources do, and the few prompts of one that cannot be
    learnt have as much as those of one with half of the data. Between them, as where languages of
    unequal size train one model (Conneau et al., 2020, arXiv 1911.02116), a tail gains much and
    what is common loses little.

    An adversary that may repeat a prompt at will has a model learn it by heart: its own rate rises,
    its source's does not. So v visits are worth R (1 - e^(-v / R)) first ones, as repeated data are
    in pre-training (Muennighoff et al., 2023, arXiv 2305.16264), and the next is worth the slope,
    e^(-v / R), with R = `repeats`.

    The adversary plays within bounds: a share `explore` of each draw goes to all candidates evenly.
    Of every prompt that share of its weight in the data is kept: it is group DRO over the mixtures
    q = explore * data + (1 - explore) * any.

    Live is not yet learnable: prompts that a guess solves are live for ever. With `pace` the chance
    of a source's prompts is also multiplied by how fast its success rate rises per live group
    (`gdro.core.learning_progress`).

    What a draw costs is the tokens of its rollouts. At a budget of tokens the choice that gains
    most takes prompts by value / cost (Dantzig, 1957): with `token_power` = kappa the chance is
    multiplied by c_i^-kappa, c_i the expected tokens of a rollout of prompt i
    (`gdro.core.rollout_tokens`), learned from what `observe_tokens` is told.

    Solved prompts and hopeless ones are drawn rarely, not never: their posterior ages back towards
    their source, so what was forgotten, or has come into reach, is found again.

    Attributes:
        size_power: alpha, in [0, 1]: a source counts by this power of its size; 1, all prompts
            alike; 0, all sources.
        explore: share of each draw that goes to all candidates evenly, in [0, 1].
        repeats: R, visits after which another one is worth 1 / e of the first; None: all visits are
            worth the same.
        pace: rise of a source's success rate per live group that is expected before it has data, in
            (0, 1]; a source that rises faster is drawn more, one that stands still a tenth as much.
            None: progress does not count.
        token_power: kappa, in [0, 1]: 1, a prompt counts by its value per token of a rollout; 0,
            rollouts cost alike.
    """

    size_power: float = 0.75
    explore: float = 0.1
    repeats: float | None = 5.0
    pace: float | None = None
    token_power: float = 0.0

    name: ClassVar[str] = "live"
    pool_factor: ClassVar[int] = 64
    reads_weights: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({BETA, SOURCE})

    def start(self) -> None:
        self.require(
            0.0 <= self.size_power <= 1.0, "size_power", "must lie in [0, 1]; 1: prompts alike"
        )
        self.require(
            0.0 <= self.explore <= 1.0, "explore", "must lie in [0, 1]; it is a share of the draws"
        )
        self.require(
            self.repeats is None or self.repeats > 0.0, "repeats", "must be above 0, or None"
        )
        self.require(
            0.0 <= self.token_power <= 1.0,
            "token_power",
            "must lie in [0, 1]; 0: rollouts cost alike, 1: value per token",
        )
        texts = self.facts.texts if self.facts.reads_texts else None
        self.tokens = None if self.token_power == 0.0 else RolloutTokens(texts)
        self.progress = None if self.pace is None else LearningProgress(self.pace)

    @property
    def needs_tokens(self) -> bool:
        return self.token_power > 0.0

    def rank(self, batch: Batch) -> Floats:
        return exponentials(batch.keys) / self.chances(batch)

    def chances(self, batch: Batch) -> Floats:
        """(N,) chance of each candidate to be drawn first; they sum to 1."""
        chance = np.maximum(self._live(batch.belief), LEAST)
        chance /= batch.prompts.source_sizes() ** (1.0 - self.size_power)
        if batch.weights is not None:
            chance *= batch.weights[batch.belief.bins]
        if self.progress is not None:
            chance *= self.progress.of(batch.prompts.sources)
        if self.repeats is not None:
            chance *= worth_of_next(batch.belief.visits, self.repeats)
        if self.tokens is not None:
            chance *= self._cheapness(self.tokens, batch)
        return np.asarray((1.0 - self.explore) * chance / chance.sum() + self.explore / len(batch))

    def _live(self, belief: Belief) -> Floats:
        """(M,) chance that a prompt's rollouts differ; of one rollout, which has a gradient by a
        baseline of its own, that two would."""
        return live_probability(*belief.beta, max(self.facts.mean_rollouts, 2))

    def _cheapness(self, tokens: RolloutTokens, batch: Batch) -> Floats:
        """(M,) c^-kappa, relative to that of the cheapest."""
        if tokens.empty and batch.number > MAX_OUTSTANDING:
            raise PlanError(
                f"token_power={self.token_power:g} needs the tokens of rollouts, and none were told"
                f" in {batch.number} batches: call controller.observe_tokens(prompt_ids, mean"
                " tokens of each prompt's rollouts) after each, or set token_power=0"
            )
        dearer = tokens.expected_log(batch.prompts)
        return np.asarray(np.maximum(np.exp(-self.token_power * (dearer - dearer.min())), LEAST))

    def update(self, outcome: Outcome, before: Belief) -> None:
        if self.progress is not None:
            live = self._live(before)
            self.progress.learn(outcome.prompts.sources, before.visits == 0, live, outcome.mean)

    def update_tokens(self, prompts: Prompts, tokens: Floats) -> None:
        if self.tokens is not None:
            self.tokens.learn(prompts, tokens)

    def metrics(self) -> dict[str, Metric]:
        found: dict[str, Metric] = {}
        if self.progress is not None:
            found["sources_standing_still"] = self.progress.standing_still()
        if self.tokens is not None and not self.tokens.empty:
            found["tokens_error"] = self.tokens.error
        return found

    def state_dict(self) -> State:
        state = {} if self.progress is None else self.progress.state_dict()
        return state if self.tokens is None else state | {"tokens": self.tokens.state_dict()}

    def load_state_dict(self, state: State) -> None:
        if self.progress is not None:
            self.progress.load_state_dict(state)
        if self.tokens is not None:
            self.tokens.load_state_dict(read_state(state, "tokens"))


def worth_of_next(visits: Ints, repeats: float) -> Floats:
    """(M,) worth of one more visit, e^(-v / R), relative to that of the least visited; above 0
    however many visits."""
    return np.asarray(np.maximum(np.exp(-(visits - visits.min()) / repeats), LEAST))
