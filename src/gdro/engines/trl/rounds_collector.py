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

from gdro.controllers.contrib.c_grpo import budgets
from gdro.core.errors import OptionError, StateError
from gdro.core.types import Floats
from gdro.engines.candidates import further_places
from gdro.engines.trl.advantages import combined_rewards
from gdro.engines.trl.batch import PromptBatch, Row
from gdro.engines.trl.rounds import (
    CGRPO,
    FEWEST_TO_CALIBRATE,
    METHODS,
    MOST_ROUNDS,
    Kept,
    to_calibrate,
)

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer


ANSWER = "answer"
"""The column under which a reward function notes what each completion answered."""


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


class _Asking:
    """A step's rounds as they are generated.

    Attributes:
        rounds: what was generated.
        rows: of each prompt, places in all rounds together.
        known: the data set's rows of prompts.
    """

    def __init__(self, collector: RoundsCollector, batch: PromptBatch) -> None:
        self.collector = collector
        self.rounds: list[Generated] = []
        self.rows: dict[str, list[int]] = {}
        self.known: dict[str, Row] = dict(zip(batch.ids, batch.rows, strict=True))

    def __call__(self, ids: Sequence[str], n: int, /) -> list[Floats]:
        collector, trainer = self.collector, self.collector.trainer
        for prompt in ids:
            if prompt not in self.known:
                self.known[prompt] = trainer.order.rows([collector.places[prompt]])[0]
        start = sum(len(made.rewards) for made in self.rounds)
        rows = [dict(self.known[prompt]) for prompt in ids for _ in range(n)]
        self.rounds.append(made := collector.generate(rows))
        for number, prompt in enumerate(ids):
            first = start + number * n
            self.rows.setdefault(prompt, []).extend(range(first, first + n))
        rewards = combined_rewards(made.rewards, trainer.reward_weights)
        return filled(np.split(rewards, len(ids)))

    def answers(self, prompt: str) -> list[str | None]:
        """What each rollout of a prompt answered, as its reward function noted it."""
        noted: list[str | None] = []
        for made in self.rounds:
            if len(made.extras.get(ANSWER, [])) != len(made.rewards):
                raise OptionError(
                    f"rounds={self.collector.name!r} needs the answer of each completion: a reward"
                    f" function must call log_extra({ANSWER!r}, [...]) with one text, or None,"
                    " a completion"
                )
            noted += made.extras[ANSWER]
        return [noted[row] for row in self.rows[prompt]]


class RoundsCollector:
    """Collects the rounds of a step and replays what was kept.

    Args:
        trainer: generates and scores.
        name: of METHODS, or c_grpo.

    Raises:
        OptionError: rounds cannot be generated as the trainer is set up.
    """

    def __init__(self, trainer: GDROTrainer, name: str) -> None:
        _refuse(trainer, name)
        self.trainer, self.name = trainer, name
        self.ids = trainer.prompts.all()
        self.places = {prompt: row for row, prompt in enumerate(self.ids)}
        self.method = CGRPO() if name == "c_grpo" else METHODS[name]
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
        trainer, asking = self.trainer, _Asking(self, batch)
        args = trainer.args
        seed = args.seed if args.data_seed is None else args.data_seed
        taken = [self.places[prompt] for prompt in batch.ids]
        most = max(MOST_ROUNDS * len(taken), FEWEST_TO_CALIBRATE)
        further = further_places(len(self.ids), taken, most, seed, trainer._step)
        further_ids = [self.ids[row] for row in further.tolist()]
        kept = self.method(batch.ids, further_ids, asking, trainer.num_generations)
        for name, value in kept.notes.items():
            trainer._metrics["train"][f"gdro/rounds/{name}"].append(value)
        pairs = zip(kept.ids, kept.places, strict=True)
        rows = [asking.rows[prompt][at] for prompt, places in pairs for at in places]
        self._replay = joined(asking.rounds).take(rows)
        return PromptBatch(kept.ids, tuple(asking.known[prompt] for prompt in kept.ids)), kept

    def state(self) -> str:
        """What the method carries from step to step; "" for nothing."""
        return self.method.state() if isinstance(self.method, CGRPO) else ""

    def load(self, state: str) -> None:
        """Go on from a state; raises StateError where it is another method's."""
        if isinstance(self.method, CGRPO) != bool(state):
            raise StateError(
                f"rounds={self.name!r} cannot go on from this checkpoint, whose rounds were"
                f" {'c_grpo' if state else 'not c_grpo'}; resume with the rounds it began with"
            )
        if isinstance(self.method, CGRPO):
            self.method.load(state)

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

    def generate(self, rows: list[Row]) -> Generated:
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
            f"steps_per_generation={args.steps_per_generation}: rounds_within_budget needs one"
            f" update a generation; set it to {args.gradient_accumulation_steps}, the"
            " gradient_accumulation_steps"
        )
    if trainer.accelerator.num_processes > 1:
        raise OptionError(
            f"rounds={name!r} generates in one process only; {trainer.accelerator.num_processes}"
            " are here"
        )
    if not trainer.text_alone or not trainer.prompts.can_choose:
        raise OptionError(
            f"rounds={name!r} does not go with tools, images, environments, a rollout function or a"
            " streamed data set"
        )
    if name == "c_grpo":
        budgets(trainer.num_generations)
        batch = trainer.order.prompts_a_batch
        if len(trainer.prompts.all()) < batch + to_calibrate(batch):
            raise OptionError(
                f"rounds='c_grpo' takes its thresholds from {to_calibrate(batch)} prompts beside a"
                f" batch of {batch}; the training set has {len(trainer.prompts.all())} in all"
            )
