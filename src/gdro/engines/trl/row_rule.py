"""A row rule (`gdro.objectives.rules`) between TRL's rewards and TRL's loss, and anchors beside it.

A rollout that a rule does not admit gets NaN for a reward, which TRL's way of taking advantages
leaves out of every mean. An anchor is a stored solution in the place of its prompt's last rollout:
that rollout's advantage is 0, and the anchor's own loss is added to TRL's, same normaliser.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gdro.core.errors import OptionError
from gdro.core.types import Bools, Floats
from gdro.engines.trl.advantages import Scored
from gdro.engines.trl.batch import Inputs, PromptBatch
from gdro.engines.trl.dropping import SUM_LOSSES, most_of_all
from gdro.objectives.dagrpo import ANCHOR, FINE, DaGRPO, check_anchor
from gdro.objectives.rules import Rollouts, RowRule

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer

IDS, MASK, ADVANTAGE = "gdro_anchor_ids", "gdro_anchor_mask", "gdro_anchor_advantage"
"""Columns of a micro-batch: tokens of a rollout's anchor (R, A, 1), which of them there are, its
advantage. Three dimensions, so that nobody takes them for columns of the completion."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """A generation batch while its advantages are taken.

    Attributes:
        seen: the rewards, NaN for rollouts that are not admitted.
        rollouts: what the rule sees, the scored rollouts alone.
        scored: (R,) which they are.
        masked: share of the scored rollouts that were not admitted.
    """

    seen: Scored
    rollouts: Rollouts
    scored: Bools
    masked: float


class RowRules:
    """The rule of a trainer, batch by batch.

    Raises:
        OptionError: a reward function or data column that is not there, or an option of the
            trainer's that does not go with anchors.
        ObjectiveError: an anchor that is longer than a completion may be; names the prompt.
    """

    def __init__(self, trainer: GDROTrainer, rule: RowRule) -> None:
        self.trainer, self.rule = trainer, rule
        self.anchors: dict[str, list[int]] = {}
        if isinstance(rule, DaGRPO):
            _check_fine(trainer, rule)
            if rule.anchors is not None:
                _check_anchors(trainer, rule.anchors)
                self.anchors = _tokens_of_anchors(trainer, rule.anchors)

    def admit(self, batch: PromptBatch, given: Scored) -> Ruling:
        """The rewards that advantages are taken from."""
        trainer, state = self.trainer, self.trainer.state
        rewards_RK, rewards, groups = given.rewards_RK, given.rewards, given.groups
        scored = ~np.isnan(rewards)
        columns = {}
        if isinstance(self.rule, DaGRPO) and self.rule.fine is not None:
            columns[FINE] = rewards_RK[scored, trainer.reward_func_names.index(self.rule.fine)]
        rollouts = Rollouts(
            rewards[scored],
            groups[scored],
            batch.ids,
            seed=trainer.args.seed,
            step=trainer.place.batches,
            progress=min(trainer.steps_spent / max(state.max_steps, 1), 1.0),
            columns=columns,
        )
        if isinstance(self.rule, DaGRPO) and self.anchors:
            has = np.array([prompt_id in self.anchors for prompt_id in batch.ids])
            rollouts = self.rule.with_anchors(rollouts, has)
        admitted = self.rule.admits(rollouts)
        rewards, rewards_RK = rewards.copy(), rewards_RK.copy()
        rewards[scored] = np.where(admitted, rollouts.rewards, np.nan)
        rewards_RK[np.flatnonzero(scored)[~admitted]] = np.nan
        masked = float((~admitted).mean()) if len(admitted) else 0.0
        seen = replace(given, rewards_RK=rewards_RK, rewards=rewards)
        return Ruling(seen, rollouts, scored, masked)

    def weigh(self, ruling: Ruling, advantages: Floats, factors: Floats) -> tuple[Floats, Floats]:
        """(R,) unweighted and weighted advantages, from those taken of the ruling's rewards; its
        metrics are logged.

        Args:
            factors: (M,) of each prompt's advantages.
        """
        rollouts, scored = ruling.rollouts, ruling.scored
        settled = self.rule.settle(advantages[scored], rollouts)
        ruled = self.rule.weigh(settled * factors[rollouts.groups], rollouts)
        metrics = dict(ruled.metrics)
        if isinstance(self.rule, DaGRPO):
            metrics["rollouts_masked"] = ruling.masked
            metrics["anchors"] = float(rollouts.columns.get(ANCHOR, np.zeros(1)).sum())
        for name, value in metrics.items():
            self.trainer._metrics["train"][f"gdro/objective/{name}"].append(value)
        own, weighted = np.zeros(len(scored)), np.zeros(len(scored))
        own[scored], weighted[scored] = settled, ruled.advantages
        return own, weighted

    def add_anchors(
        self, output: Inputs, batch: PromptBatch, ruling: Ruling, scored: Scored
    ) -> None:
        """Move the advantages of anchored rollouts, of this process, to their anchors' columns."""
        if not self.anchors:
            return
        groups, mine = scored.groups, scored.mine
        anchor = np.zeros(len(groups))
        anchor[ruling.scored] = ruling.rollouts.columns[ANCHOR]
        names = [batch.ids[group] for group in groups[mine]]
        tokens = [
            self.anchors[name] if is_anchor else []
            for name, is_anchor in zip(names, anchor[mine] > 0.0, strict=True)
        ]
        width = max([1, *map(len, tokens)])
        device = output["advantages"].device
        pad = self.trainer.processing_class.pad_token_id
        ids = [row + [pad] * (width - len(row)) for row in tokens]
        lengths = torch.tensor([len(row) for row in tokens], device=device)
        output[IDS] = torch.tensor(ids, device=device)[:, :, None]
        output[MASK] = (torch.arange(width, device=device) < lengths[:, None]).long()[:, :, None]
        output[ADVANTAGE] = torch.where(lengths > 0, output["advantages"], 0.0)
        output["advantages"] = torch.where(lengths > 0, 0.0, output["advantages"])

    def with_anchors(self, loss: torch.Tensor, model: Any, inputs: Inputs) -> torch.Tensor:
        """The loss of a micro-batch with its anchors' part."""
        if ADVANTAGE not in inputs or not isinstance(self.rule, DaGRPO):
            return loss
        trainer = self.trainer
        tokens, present = inputs[IDS][:, :, 0], inputs[MASK][:, :, 0]
        rows = present.any(1).nonzero()[:, 0]
        most = most_of_all(trainer.accelerator, len(rows), rows.device)
        if most == 0:
            return loss
        spare = (~present.any(1)).nonzero()[: most - len(rows), 0]
        rows = torch.cat([rows, spare])
        ids = torch.cat([inputs["prompt_ids"][rows], tokens[rows]], 1)
        attention = torch.cat([inputs["prompt_mask"][rows], present[rows]], 1)
        attention[len(rows) - len(spare) :, -1] = 1  # an empty spare row still reads one token
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            model, ids, attention, tokens.shape[1]
        )
        gain = self.rule.gain(logps) * present[rows] * inputs[ADVANTAGE][rows, None]
        items = inputs["num_items_in_batch"].clamp(min=1.0) / trainer.accelerator.num_processes
        share = trainer.current_gradient_accumulation_steps / trainer.args.steps_per_generation
        total: torch.Tensor = loss - gain.sum() / (items * share)
        return total


def _check_fine(trainer: GDROTrainer, rule: DaGRPO) -> None:
    if rule.fine is not None and rule.fine not in trainer.reward_func_names:
        known = ", ".join(trainer.reward_func_names)
        raise OptionError(
            f"objective 'dagrpo' has fine={rule.fine!r}, which is no reward function ({known}); add"
            " it to reward_funcs, with weight 0 in reward_weights if it should not be learned from"
        )


def _check_anchors(trainer: GDROTrainer, column: str) -> None:
    if not trainer.prompts.can_choose or column not in trainer.prompts.dataset.column_names:
        raise OptionError(
            f"objective 'dagrpo' has anchors={column!r}, which is no column of the training set;"
            " name the one with solutions (a streamed data set cannot have anchors)"
        )
    if trainer.loss_type not in SUM_LOSSES:
        raise OptionError(
            f"loss_type={trainer.loss_type!r}: anchors enter a sum over tokens; choose one of "
            f"{', '.join(sorted(SUM_LOSSES))}"
        )
    if trainer.args.multi_objective_aggregation != "sum_then_normalize" or not trainer.text_alone:
        raise OptionError("anchors go with one combined reward and with text alone")


def _tokens_of_anchors(trainer: GDROTrainer, column: str) -> dict[str, list[int]]:
    """Tokens of each prompt's solution, its end token included."""
    tokenizer, limit = trainer.processing_class, int(trainer.args.max_completion_length)
    dataset = trainer.prompts.dataset
    found = {}
    for prompt_id, text in zip(trainer.prompts.all(), dataset[column], strict=True):
        if not text:
            continue
        tokens = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        check_anchor(len(tokens), limit, prompt_id)
        found[prompt_id] = tokens
    return found
