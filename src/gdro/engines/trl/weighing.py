"""From the rewards of a generation batch to the advantages that it is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gdro.core.types import Floats, Ints, Plan
from gdro.engines.session import Answer
from gdro.engines.trl.advantages import batch_advantages, keeps_trls, without_signal
from gdro.engines.trl.batch import PromptBatch

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer


@dataclass(frozen=True, slots=True)
class Scored:
    """Rewards of the R rollouts of a generation batch, over all processes.

    Attributes:
        rewards_RK: of each reward function, NaN where it has none.
        rewards: (R,) combined, NaN where no function has one.
        groups: (R,) the place of each rollout's prompt in the plan.
        mine: those of this process.
    """

    rewards_RK: Floats
    rewards: Floats
    groups: Ints
    mine: slice


def weigh(
    trainer: GDROTrainer,
    output: dict[str, Any],
    batch: PromptBatch,
    scored: Scored,
    answer: Answer,
    plan: Plan,
) -> None:
    """Replace TRL's advantages (which assume equal groups) in its batch and in its logs; add the
    columns that the passes need."""
    args, rules, groups, mine = trainer.args, trainer.row_rules, scored.groups, scored.mine
    ruling = None if rules is None else rules.admit(batch, scored)
    seen = scored if ruling is None else ruling.seen
    own = batch_advantages(
        seen.rewards_RK,
        seen.rewards,
        trainer.reward_weights.double().cpu().numpy(),
        groups,
        answer,
        args.advantage_kind,
        args.advantage_ddof,
        args.advantage_clip,
    )
    final = own * answer.factors[groups]
    if rules is not None and ruling is not None:
        own, final = rules.weigh(ruling, own, answer.factors)
    if ruling is not None or not keeps_trls(args, answer, plan):
        weighted = torch.from_numpy(final).float()
        output["advantages"] = weighted[mine].to(output["advantages"].device)
        logged = trainer._logs["advantages"]
        for _ in range(min(len(logged), weighted.numel())):
            logged.pop()
        logged.extend(weighted.tolist())
    if rules is not None and ruling is not None:
        rules.add_anchors(output, batch, ruling, scored)
    output |= trainer.update.columns(
        groups[mine], own[mine], scored.rewards[mine], answer.weights[groups[mine]]
    )
    trainer._metrics["train"]["frac_reward_zero_std"][-1] = without_signal(scored.rewards, groups)
