"""Rounds in the TRL engine: generates and scores them, and lets TRL train on what was kept.

One process, text alone, a training set that can be indexed, and a controller with equal rollouts:
who is kept takes the place of a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from gdro.core.errors import OptionError
from gdro.core.types import Floats
from gdro.engines.candidates import further_places
from gdro.engines.interface import leaves_choice
from gdro.engines.trl.advantages import combined_rewards
from gdro.engines.trl.batch import PromptBatch, Row
from gdro.engines.trl.rounds import METHODS, MOST_ROUNDS, Kept

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer


@dataclass
class Generated:
    """Rows that were generated and scored.

    Attributes:
        columns: TRL's own columns of a generation, some absent.
        rewards: (R, functions).
        extras: columns that reward functions gave to `log_extra`, None where a round gave none.
    """

    columns: list[list[Any] | None]
    rewards: torch.Tensor
    extras: dict[str, list[Any]]

    def take(self, rows: Sequence[int]) -> Generated:
        """Some of the rows, in this order."""
        columns = [None if column is None else [column[r] for r in rows] for column in self.columns]
        extras = {name: [values[r] for r in rows] for name, values in self.extras.items()}
        return Generated(columns, self.rewards[list(rows)], extras)


def joined(rounds: Sequence[Generated]) -> Generated:
    """The rows of all rounds, one after the other."""
    columns = [
        (
            None
            if any(part is None for part in parts)
            else [row for part in parts for row in part or []]
        )
        for parts in zip(*(made.columns for made in rounds), strict=True)
    ]
    names = sorted({name for made in rounds for name in made.extras})
    extras = {
        name: [
            value for made in rounds for value in made.extras.get(name, [None] * len(made.rewards))
        ]
        for name in names
    }
    return Generated(columns, torch.cat([made.rewards for made in rounds]), extras)


class RoundsCollector:
    """Collects the rounds of a step and replays what was kept.

    Args:
        trainer: generates and scores.
        name: of METHODS.

    Raises:
        OptionError: rounds cannot be generated as the trainer is set up.
    """

    def __init__(self, trainer: GDROTrainer, name: str) -> None:
        _refuse(trainer, name)
        self.trainer, self.name = trainer, name
        self.ids = trainer.prompts.all()
        self.places = {prompt: row for row, prompt in enumerate(self.ids)}
        self._replay: Generated | None = None

    @property
    def steps_spent(self) -> int:
        """Steps of one round that the rollouts so far would be."""
        return int(self.trainer.place.rollouts_total // self.trainer.args.generation_batch_size)

    def collect(self, batch: PromptBatch) -> tuple[PromptBatch, Kept]:
        """Generate until the step has what it trains on; TRL's next generation gives just that.

        Args:
            batch: the data loader's prompts.
        """
        trainer, rounds = self.trainer, list[Generated]()
        rows_of: dict[str, list[int]] = {}
        known: dict[str, Row] = dict(zip(batch.ids, batch.rows, strict=True))

        def ask(ids: Sequence[str], n: int) -> list[Floats]:
            for prompt in ids:
                if prompt not in known:
                    known[prompt] = trainer.training_rows([self.places[prompt]])[0]
            start = sum(len(made.rewards) for made in rounds)
            rounds.append(self._round([dict(known[prompt]) for prompt in ids for _ in range(n)]))
            for number, prompt in enumerate(ids):
                first = start + number * n
                rows_of.setdefault(prompt, []).extend(range(first, first + n))
            rewards = combined_rewards(rounds[-1].rewards, trainer.reward_weights)
            return filled(np.split(rewards, len(ids)))

        args = trainer.args
        seed = args.seed if args.data_seed is None else args.data_seed
        taken = [self.places[prompt] for prompt in batch.ids]
        further = further_places(
            len(self.ids), taken, MOST_ROUNDS * len(taken), seed, trainer._step
        )
        further_ids = [self.ids[row] for row in further]
        kept = METHODS[self.name](batch.ids, further_ids, ask, trainer.num_generations)
        pairs = zip(kept.ids, kept.places, strict=True)
        rows = [rows_of[prompt][at] for prompt, places in pairs for at in places]
        self._replay = joined(rounds).take(rows)
        return PromptBatch(kept.ids, tuple(known[prompt] for prompt in kept.ids)), kept

    def generation(self) -> Any:
        """What TRL's `_generate` would return for the kept rows; None when there are none to
        replay."""
        if self._replay is None:
            return None
        return *self._replay.columns[:5], {}, None, []

    def rewards(self) -> torch.Tensor | None:
        """(R, functions) rewards of the kept rows, which ends the replay; None without one.

        What their reward functions noted by `log_extra` is put where TRL looks for it.
        """
        replay, self._replay = self._replay, None
        if replay is None:
            return None
        for name, values in replay.extras.items():
            self.trainer._pending_extra_logs[name].extend(values)
        return replay.rewards

    def follow(self, scheduler: Any) -> Any:
        """A scheduler whose course follows the rollouts spent.

        Raises:
            OptionError: one that cannot.
        """
        if not isinstance(scheduler, LambdaLR):
            raise OptionError(
                f"lr_scheduler_type={self.trainer.args.lr_scheduler_type!r} cannot follow the"
                " rollouts spent, which rounds_within_budget asks for; use linear, cosine or"
                " constant_with_warmup"
            )
        scheduler.lr_lambdas = [self._by_spending(course) for course in scheduler.lr_lambdas]
        return scheduler

    def stop_when_spent(self, control: Any) -> None:
        """End the run after this step if its rollouts are spent, as the last of `max_steps`
        would."""
        args = self.trainer.args
        if not args.rounds_within_budget or self.steps_spent < self.trainer.state.max_steps:
            return
        control.should_training_stop = True
        control.should_save |= args.save_strategy == SaveStrategy.STEPS
        control.should_evaluate |= args.eval_strategy == IntervalStrategy.STEPS

    def _by_spending(self, course: Callable[[int], float]) -> Callable[[int], float]:
        return lambda step: course(self.steps_spent)

    def _round(self, rows: list[Row]) -> Generated:
        """Generate and score rows."""
        trainer = self.trainer
        prompts = [row["prompt"] for row in rows]
        made = trainer._generate(prompts)
        tokens, completions = made[1], made[3]
        rewards = trainer._calculate_rewards(rows, prompts, completions, tokens)
        trainer.count(len(rows))
        columns = [list(column) if isinstance(column, list) and column else None for column in made]
        extras = {name: list(values) for name, values in trainer._pending_extra_logs.items()}
        trainer._pending_extra_logs.clear()
        return Generated(columns, rewards, extras)


def filled(groups: Sequence[Floats]) -> list[Floats]:
    """Rewards of each prompt, NaN replaced by the mean of the others, or 0 without any.

    Who is kept is decided by these; a kept rollout without a reward still trains with advantage 0.
    """
    out = []
    for group in groups:
        scored = group[~np.isnan(group)]
        out.append(np.where(np.isnan(group), scored.mean() if scored.size else 0.0, group))
    return out


def _refuse(trainer: GDROTrainer, name: str) -> None:
    """Raise OptionError where rounds cannot be generated."""
    args = trainer.args
    if args.rounds_within_budget and trainer.generate_every != args.gradient_accumulation_steps:
        raise OptionError(
            "rounds_within_budget needs one update a generation: num_iterations=1 and "
            "steps_per_generation equal to gradient_accumulation_steps"
        )
    if trainer.accelerator.num_processes > 1:
        raise OptionError(
            f"rounds={name!r} generates in one process only; {trainer.accelerator.num_processes}"
            " are here"
        )
    if not leaves_choice(trainer.controller):
        raise OptionError(
            f"rounds={name!r} takes the place of a controller's choice; use controller='uniform'"
        )
    if not trainer.text_alone or not trainer.prompts.can_choose:
        raise OptionError(
            f"rounds={name!r} does not go with tools, images, environments, a rollout function or a"
            " streamed data set"
        )
