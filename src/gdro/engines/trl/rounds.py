"""Steps that generate several times before they train: DAPO's dynamic sampling, Reinforce-Ada,
HORA and C-GRPO in the TRL engine.

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
- `c_grpo`: 2, 4, 8, .. rollouts of a prompt until its answers agree enough
  (`controllers.contrib.c_grpo`), at most 4 * num_generations and 32. Ours: a step costs what one
  round does. What prompts save that stop early goes to those that do not, in an order drawn anew
  in each step while it lasts; what is left at the end goes to the smallest groups. All of it
  trains. Every 50 steps, thresholds are taken from further prompts of the training set, as many as
  a batch has and at least 32; their rollouts are counted, and not trained on. The reward function
  must tell the answers: `log_extra("answer", [...])`, one text or None a completion.

`rounds_collector.py` is what generates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from gdro.controllers.contrib.c_grpo import answers_of, budgets, calibrate, top_share
from gdro.controllers.contrib.dynamic_sampling import DynamicSampling
from gdro.controllers.contrib.gains import hit_gains
from gdro.controllers.contrib.reinforce_ada import ReinforceAda
from gdro.core.budget import greedy_allocation
from gdro.core.hashing import Keys, prompt_key, step_keys
from gdro.core.types import Feedback, Floats, Ints, Plan
from gdro.engines.answer import Answer
from gdro.engines.trl.advantages import EPSILON

MOST_ROUNDS = 10
RIGHT_ABOVE, MOST_OF_HORA = 0.5, 32
CALIBRATE_EVERY, FEWEST_TO_CALIBRATE = 50, 32


class Ask(Protocol):
    """What generates and scores."""

    def __call__(self, ids: Sequence[str], n: int, /) -> list[Floats]:
        """So many rollouts of each prompt; their rewards, one array a prompt."""
        ...


class AskAnswers(Ask, Protocol):
    """The same, where rollouts have answers."""

    def answers(self, prompt: str) -> list[str | None]:
        """What each rollout of a prompt in this step answered, in order of generation.

        Raises:
            OptionError: the reward function does not tell.
        """
        ...


@dataclass(frozen=True)
class Kept:
    """What a step trains on.

    Attributes:
        ids: (M,) prompts.
        places: for each, which of its rollouts, in order of generation.
        baselines, deviations: (M,) for the advantages, or None for those of the kept rollouts.
        notes: metrics of the step.
    """

    ids: tuple[str, ...]
    places: tuple[Sequence[int], ...]
    baselines: Floats | None = None
    deviations: Floats | None = None
    notes: Mapping[str, float] = field(default_factory=dict)

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
    right = np.array([(rewards > RIGHT_ABOVE).sum() for rewards in ask(ids, first)])
    gains = hit_gains(1.0 + right, 1.0 + first - right, 0, max(MOST_OF_HORA, n) - first)
    more = greedy_allocation(gains, (n - first) * len(ids), order_of(ids))
    _ask_for(ids, more, ask)
    return Kept(tuple(ids), tuple(range(first + m) for m in more.tolist()))


def _ask_for(ids: Sequence[str], counts: Ints, ask: Ask) -> None:
    """So many (M,) further rollouts of each prompt, those that get as many as each other at
    once."""
    for count in sorted(set(counts.tolist()) - {0}):
        ask([prompt for prompt, m in zip(ids, counts.tolist(), strict=True) if m == count], count)


def order_of(ids: Sequence[str]) -> Keys:
    """(M,) keys that put a batch's prompts in an order: of their places independent, and another in
    every batch."""
    own = np.array([prompt_key(prompt) for prompt in ids], np.uint64)
    return step_keys(own, int(np.bitwise_xor.reduce(own)), 0)


class CGRPO:
    """C-GRPO's rounds; keeps the thresholds from step to step.

    Attributes:
        thresholds: by number of rollouts; empty before the first calibration.
        delta: of the last calibration.
        steps, calibrations: so far.
    """

    def __init__(self) -> None:
        self.thresholds: dict[int, float] = {}
        self.delta = 1.0
        self.steps = self.calibrations = 0

    def __call__(self, ids: Sequence[str], further: Sequence[str], ask: AskAnswers, n: int) -> Kept:
        """n rollouts of each of these prompts on average, more of those whose answers differ."""
        grid, calibrated = budgets(n), 0
        if self.steps % CALIBRATE_EVERY == 0:
            calibrated = self._calibrate(further[: to_calibrate(len(ids))], ask, grid, n * len(ids))
        self.steps += 1
        keys, left = order_of(ids), n * len(ids)
        counts, stopped = dict.fromkeys(ids, 0), 0
        active = [ids[place] for place in np.argsort(keys, kind="stable").tolist()]
        right: dict[str, Floats] = {prompt: np.empty(0) for prompt in ids}
        for before, size in zip((0, *grid), grid, strict=False):
            active = active[: left // (size - before)]
            if not active:
                break
            for prompt, rewards in zip(active, ask(active, size - before), strict=True):
                right[prompt] = np.concatenate([right[prompt], rewards > RIGHT_ABOVE])
                counts[prompt] = size
            left -= (size - before) * len(active)
            tried = len(active)
            active = [
                prompt
                for prompt in active
                if top_share(answers_of(ask.answers(prompt), right[prompt] > 0))
                < self.thresholds[size]
            ]
            stopped += tried - len(active)
        sizes = np.array([counts[prompt] for prompt in ids])
        more = greedy_allocation(-(sizes[:, None] + np.arange(float(left))), left, keys)
        _ask_for(ids, more, ask)
        notes = {
            "delta": self.delta,
            "calibration_rollouts": float(calibrated),
            "stopped_share": stopped / len(ids),
            "filled_up": float(left),
            **{f"threshold_{size}": value for size, value in self.thresholds.items()},
        }
        return Kept(tuple(ids), tuple(range(m) for m in (sizes + more).tolist()), notes=notes)

    def _calibrate(
        self, ids: Sequence[str], ask: AskAnswers, grid: tuple[int, ...], rows: int
    ) -> int:
        """Take the thresholds of the policy as it is; at most `rows` rollouts at a time."""
        answers: dict[str, list[str]] = {}
        a_time = max(rows // grid[-1], 1)
        for start in range(0, len(ids), a_time):
            some = ids[start : start + a_time]
            for prompt, rewards in zip(some, ask(some, grid[-1]), strict=True):
                answers[prompt] = answers_of(ask.answers(prompt), rewards > RIGHT_ABOVE)
        self.delta, self.thresholds = calibrate(answers, grid, self.calibrations)
        self.calibrations += 1
        return len(ids) * grid[-1]

    def state(self) -> str:
        """What the next step depends on, as JSON."""
        thresholds = {str(size): value for size, value in self.thresholds.items()}
        return json.dumps([self.delta, self.steps, self.calibrations, thresholds])

    def load(self, state: str) -> None:
        """Go on from a state."""
        self.delta, self.steps, self.calibrations, thresholds = json.loads(state)
        self.thresholds = {int(size): value for size, value in thresholds.items()}


def to_calibrate(prompts: int) -> int:
    """Further prompts that a calibration of `c_grpo` takes beside a batch of so many."""
    return max(prompts, FEWEST_TO_CALIBRATE)


METHODS: dict[str, Callable[[Sequence[str], Sequence[str], Ask, int], Kept]] = {
    "dynamic_sampling": dynamic_sampling,
    "reinforce_ada": reinforce_ada,
    "hora": hora,
}
"""The methods that keep nothing from step to step."""
