"""Steps that generate several times before they train: DAPO's dynamic sampling and Reinforce-Ada in the TRL engine.

Both look at rewards before they decide what else to generate. Who is kept is decided in `controllers.contrib`; here
prompts are generated and scored round by round, and the kept rollouts then given to TRL as if it had just made them.
Every rollout of every round is counted in `rollouts_total` and `tokens_total`. A step then costs more than one of one
round; with `rounds_within_budget` the run as a whole does not, for it makes fewer steps.

- `dynamic_sampling`: groups of `num_generations`; those whose rewards agree are dropped and further prompts take their
  place, at most 10 rounds. When data or rounds run out first, dropped groups fill the batch (they have no gradient).
- `reinforce_ada`: the batch's prompts, 2 * num_generations rollouts a round, at most 4 rounds, until a prompt has shown
  both kinds; `num_generations` of its rollouts train, compared with the statistics of all of them.

One process, text alone, and a controller with equal rollouts: who is kept takes the place of a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from gdro.controllers.contrib.dynamic_sampling import DynamicSampling
from gdro.controllers.contrib.reinforce_ada import ReinforceAda
from gdro.core.errors import OptionError
from gdro.core.types import Floats
from gdro.engines.candidates import further_places
from gdro.engines.interface import leaves_choice
from gdro.engines.trl.batch import PromptBatch, Row
from gdro.engines.trl.resumable import ResumableTrainer

MOST_ROUNDS = 10
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


def dynamic_sampling(ids: Sequence[str], further: Sequence[str], ask: Ask, n: int) -> Kept:
    """Groups whose rewards differ: of these prompts, then of further ones in their order."""
    rounds, dead = DynamicSampling(len(ids), MOST_ROUNDS), list[str]()
    asked, left = list(ids), list(further)
    while asked:
        rewards = ask(asked, n)
        rounds.add(asked, rewards)
        dead += [prompt for prompt, group in zip(asked, rewards, strict=True) if np.ptp(group) == 0.0]
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
    return Kept(tuple(ids), tuple(places[prompt].tolist() for prompt in ids), baselines, deviations + EPSILON)


METHODS: dict[str, Callable[[Sequence[str], Sequence[str], Ask, int], Kept]] = {
    "dynamic_sampling": dynamic_sampling,
    "reinforce_ada": reinforce_ada,
}


@dataclass
class Generated:
    """Rows that were generated and scored: TRL's own columns (some absent), and rewards (R, functions)."""

    columns: list[list[Any] | None]
    rewards: torch.Tensor

    def take(self, rows: Sequence[int]) -> Generated:
        """Some of the rows, in this order."""
        columns = [None if column is None else [column[row] for row in rows] for column in self.columns]
        return Generated(columns, self.rewards[list(rows)])


def joined(rounds: Sequence[Generated]) -> Generated:
    """The rows of all rounds, one after the other."""
    columns = [
        None if any(column is None for column in parts) else [row for column in parts for row in column or []]
        for parts in zip(*(made.columns for made in rounds), strict=True)
    ]
    return Generated(columns, torch.cat([made.rewards for made in rounds]))


class RoundsTrainer(ResumableTrainer):
    """The part of the trainer that collects rounds and replays what was kept."""

    _replay: Generated | None = None
    _place_of: dict[str, int] | None = None

    @property
    def steps_spent(self) -> int:
        """Steps done; with `rounds_within_budget`, steps of one round that the rollouts so far would be."""
        if not self.args.rounds_within_budget:
            return int(self.state.global_step)
        return int(self.place.rollouts_total // self.args.generation_batch_size)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """TRL's; with `rounds_within_budget` its course follows the rollouts spent."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if self.args.rounds_within_budget:
            if not isinstance(scheduler, LambdaLR):
                raise OptionError(
                    f"lr_scheduler_type={self.args.lr_scheduler_type!r} cannot follow the rollouts spent, which "
                    "rounds_within_budget asks for; use linear, cosine or constant_with_warmup"
                )
            scheduler.lr_lambdas = [self._by_spending(course) for course in scheduler.lr_lambdas]
        return scheduler

    def _by_spending(self, course: Callable[[int], float]) -> Callable[[int], float]:
        return lambda step: course(self.steps_spent)

    def stop_when_spent(self, control: Any) -> None:
        """End the run after this step if its rollouts are spent, as the last step of `max_steps` would."""
        if not self.args.rounds_within_budget or self.steps_spent < self.state.max_steps:
            return
        control.should_training_stop = True
        control.should_save = control.should_save or self.args.save_strategy == SaveStrategy.STEPS
        control.should_evaluate = control.should_evaluate or self.args.eval_strategy == IntervalStrategy.STEPS

    def in_rounds(self, name: str, batch: PromptBatch) -> tuple[PromptBatch, Kept]:
        """Generate in rounds until the step has what it trains on; TRL's next generation gives just that.

        Args:
            name: of METHODS.
            batch: the data loader's prompts.
        """
        ids = self.train_dataset[self.args.id_column]
        if self._place_of is None:
            self._place_of = {prompt: row for row, prompt in enumerate(ids)}
        place, rounds = self._place_of, list[Generated]()
        rows_of: dict[str, list[int]] = {}
        known: dict[str, Row] = dict(zip(batch.ids, batch.rows, strict=True))

        def ask(ids: Sequence[str], n: int) -> list[Floats]:
            for prompt in ids:
                known.setdefault(prompt, self.train_dataset[place[prompt]])
            start = sum(len(made.rewards) for made in rounds)
            made, rewards = self._round([dict(known[prompt]) for prompt in ids for _ in range(n)])
            rounds.append(made)
            for number, prompt in enumerate(ids):
                rows_of.setdefault(prompt, []).extend(range(start + number * n, start + (number + 1) * n))
            return np.split(rewards, len(ids))

        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        taken = [place[prompt] for prompt in batch.ids]
        further = further_places(len(place), taken, MOST_ROUNDS * len(taken), seed, self._step)
        kept = METHODS[name](batch.ids, [ids[row] for row in further], ask, self.num_generations)
        rows = [rows_of[prompt][at] for prompt, places in zip(kept.ids, kept.places, strict=True) for at in places]
        self._replay = joined(rounds).take(rows)
        return PromptBatch(kept.ids, tuple(known[prompt] for prompt in kept.ids)), kept

    def _round(self, rows: list[Row]) -> tuple[Generated, Floats]:
        """Generate and score rows; their combined rewards (R,)."""
        prompts = [row["prompt"] for row in rows]
        made = self._generate(prompts)
        tokens, completions = made[1], made[3]
        rewards = self._calculate_rewards(rows, prompts, completions, tokens)
        self._count(len(rows))
        columns = [list(column) if isinstance(column, list) and column else None for column in made]
        return Generated(columns, rewards), self._combined_rewards()

    def _generate(self, prompts: list[Any]) -> Any:
        """TRL's, or what was kept."""
        if self._replay is None:
            return super()._generate(prompts)
        columns = self._replay.columns
        return *columns[:5], {}, None, []

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """TRL's, or those of what was kept, which ends the replay."""
        if self._replay is None:
            rewards: torch.Tensor = super()._calculate_rewards(*args, **kwargs)
            return rewards
        replay, self._replay = self._replay, None
        return replay.rewards

    def _count(self, rollouts: int) -> None:
        raise NotImplementedError

    def _combined_rewards(self) -> Floats:
        raise NotImplementedError


def check_rounds(name: str | None, trainer: Any) -> None:
    """Raises OptionError where rounds cannot be generated."""
    if name is None:
        return
    if trainer.args.rounds_within_budget and trainer._generate_every != trainer.args.gradient_accumulation_steps:
        raise OptionError(
            "rounds_within_budget needs one update a generation: num_iterations=1 and steps_per_generation equal to "
            "gradient_accumulation_steps"
        )
    if trainer.accelerator.num_processes > 1:
        raise OptionError(
            f"rounds={name!r} generates in one process only; {trainer.accelerator.num_processes} are here"
        )
    if not leaves_choice(trainer.controller):
        raise OptionError(f"rounds={name!r} takes the place of a controller's choice; use controller='uniform'")
    if (
        trainer.tools
        or trainer.rollout_func is not None
        or trainer.environment_factories is not None
        or trainer._is_vlm
    ):
        raise OptionError(f"rounds={name!r} does not go with tools, images, environments or a rollout function")
