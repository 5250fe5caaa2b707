"""A generation batch from its prompts to TRL's output: plan, generate, score, observe, weigh."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gdro.engines.trl.advantages import Scored, combined_rewards
from gdro.engines.trl.batch import PromptBatch, Row

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer

Generate = Callable[[list[Row]], dict[str, Any]]
"""TRL's `_generate_and_score_completions`: a process's rows to its part of the batch."""


def planned(
    trainer: GDROTrainer, batch: PromptBatch, local: int, generate: Generate
) -> dict[str, Any]:
    """The batch's rollouts, generated, scored and weighed; `local` of them on this process."""
    kept = None
    if trainer.rounds is not None:
        batch, kept = trainer.rounds.collect(batch)
    plan = trainer.session.plan(batch.ids)
    groups = batch.ragged(plan, even=kept is not None)
    if kept is not None and kept.uneven:
        plan = trainer.session.share_out(kept.counts)
        groups = batch.ragged(plan)
    first = trainer.accelerator.process_index * local
    mine = slice(first, first + local)
    output = generate([_shown(trainer, batch.rows[group]) for group in groups[mine]])
    rewards_RK = trainer.take_rewards()
    rewards = combined_rewards(rewards_RK, trainer.reward_weights)
    if trainer.controller.needs_tokens:
        lengths = trainer.take_lengths().cpu().numpy()
        trainer.session.observe_tokens(batch.means(lengths, plan))
    with trainer.timed("score"):
        answer = trainer.session.observe(batch.scored(rewards, plan))
    if kept is not None:
        answer = kept.against(answer, plan)
    scored = Scored(rewards_RK.double().cpu().numpy(), rewards, groups, mine)
    trainer._weigh(output, batch, scored, answer, plan)
    trainer.update.ledger.start(batch.ids)
    trainer.place.batches += 1
    if kept is None:
        trainer.count(len(groups))
    for name, value in trainer.session.metrics().items():
        trainer._metrics["train"][name].append(value)
    return output


def _shown(trainer: GDROTrainer, row: Row) -> Row:
    """A prompt's row for one rollout. An environment's `reset` takes the columns of the user's data
    set by name, and an id that was made of the content is none of them."""
    made = trainer.environment_factories is not None and trainer.prompts.kind == "content"
    return {key: row[key] for key in row if not (made and key == trainer.prompts.column)}
