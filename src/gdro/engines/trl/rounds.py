"""Steps that generate several times before they train: DAPO's dynamic sampling, Reinforce-Ada and
HORA in the TRL engine.

They look at rewards before they decide what else to generate. Who is kept is decided in
`controllers.contrib`; here prompts are generated and scored round by round, and the kept rollouts
then given to TRL as if it had just made them. Every rollout of every round is counted in
`rollouts_total` and `tokens_total`. A step then costs more than one of one round; with
`rounds_within_budget` the run as a whole does not, for it makes fewer steps.

- `dynamic_sampling`: groups of `num_generations`; those whose rewards agree are dropped and further
  prompts take their place, at most 10 rounds. When data or rounds run out first, dropped groups
  fill the batch (they have no gradient).
- `reinforce_ada`: the batch's prompts, 2 * num_generations rollouts a round, at most 4 rounds,
  until a prompt has shown both kinds; `num_generations` of its rollouts train, compared with the
  statistics of all of them.
- `hora`: half of `num_generations` of each of the batch's prompts (ours; at least 1), then the rest
  of the step's budget where the posterior of this first round expects most hits, at most 32 a
  prompt; all rollouts train, so a step costs what one round does. A rollout is right above 0.5.

`rounds_collector.py` is what generates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gdro.controllers.contrib.dynamic_sampling import DynamicSampling
from gdro.controllers.contrib.hora import hit_gains
from gdro.controllers.contrib.reinforce_ada import ReinforceAda
from gdro.core.greedy import greedy_allocation
from gdro.core.hashing import prompt_key, step_keys
from gdro.core.types import Feedback, Floats, Ints, Plan
from gdro.engines.session import Answer

MOST_ROUNDS = 10
HORA_RIGHT, MOST_OF_HORA = 0.5, 32
EPSILON = 1e-4
"""Beside the standard deviation, as in TRL."""

Ask = Callable[[Sequence[str], int], list[Floats]]
"""Generate and score so many rollouts of each prompt; their rewards, one array a prompt."""


@dataclass(frozen=True)
class Kept:
    """What a step trains on.

    Attributes:
        ids: (M,) prompts.
        places: for each, which of its rollouts, in order of generation.
        baselines, deviations: (M,) for the advantages, or None for those of the kept rollouts.
    """

    ids: tuple[str, ...]
    places: tuple[Sequence[int], ...]
    baselines: Floats | None = None
    deviations: Floats | None = None

    @property
    def counts(self) -> Ints:
        """(M,) rollouts of each prompt."""
        return np.array([len(places) for places in self.places], np.int64)

    @property
    def uneven(self) -> bool:
        """Whether prompts have different numbers of rollouts."""
        return bool(np.ptp(self.counts) > 0)

    def against(self, answer: Answer, plan: Plan) -> Answer:
        """The answer to the kept rollouts' rewards, with the baselines of all rounds."""
        if self.baselines is None:
            return answer
        feedback = Feedback(
            plan.prompt_ids, answer.weights, plan.bins, self.baselines, self.deviations
        )
        return replace(answer, feedback=feedback)


def dynamic_sampling(ids: Sequence[str], further: Sequence[str], ask: Ask, n: int) -> Kept:
    """Groups whose rewards differ: of these prompts, then of further ones in their order."""
    rounds, dead = DynamicSampling(len(ids), MOST_ROUNDS), list[str]()
    asked, left = list(ids), list(further)
    while asked:
        rewards = ask(asked, n)
        rounds.add(asked, rewards)
        dead += [
            prompt for prompt, group in zip(asked, rewards, strict=True) if np.ptp(group) == 0.0
        ]
        asked = [] if rounds.done else left[: rounds.missing]
        left = left[len(asked) :]
    kept = [*rounds.kept()[0], *reversed(dead)][: len(ids)]
    return Kept(tuple(kept), tuple(range(n) for _ in kept))


def reinforce_ada(ids: Sequence[str], further: Sequence[str], ask: Ask, n: int) -> Kept:
    """n rollouts of each of these prompts, half of them right where there are that many."""
    rounds = ReinforceAda(ids, keep=n, round_size=2 * n)
    while rounds.active:
        active = list(rounds.active)
        rounds.add(active, ask(active, rounds.round_size))
    places, statistics = rounds.kept(), rounds.statistics()
    baselines, deviations = np.array([statistics[prompt] for prompt in ids]).T
    return Kept(
        tuple(ids),
        tuple(places[prompt].tolist() for prompt in ids),
        baselines,
        deviations + EPSILON,
    )


def hora(ids: Sequence[str], further: Sequence[str], ask: Ask, n: int) -> Kept:
    """n rollouts of each of these prompts on average, by hit utility after a first round."""
    first = max(n // 2, 1)
    right = np.array([(rewards > HORA_RIGHT).sum() for rewards in ask(ids, first)])
    gains = hit_gains(1.0 + right, 1.0 + first - right, 0, max(MOST_OF_HORA, n) - first)
    own = np.array([prompt_key(prompt) for prompt in ids], np.uint64)
    ties = step_keys(own, int(np.bitwise_xor.reduce(own)), 0)  # others in every batch
    more = greedy_allocation(gains, (n - first) * len(ids), ties)
    for count in sorted(set(more.tolist()) - {0}):
        ask([prompt for prompt, m in zip(ids, more.tolist(), strict=True) if m == count], count)
    return Kept(tuple(ids), tuple(range(first + m) for m in more.tolist()))


METHODS: dict[str, Callable[[Sequence[str], Sequence[str], Ask, int], Kept]] = {
    "dynamic_sampling": dynamic_sampling,
    "reinforce_ada": reinforce_ada,
    "hora": hora,
}
