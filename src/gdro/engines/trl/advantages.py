"""Advantages of a generation batch by prompt id, for every way in which TRL computes them; `weigh`
puts them in the place of TRL's.

    group, none     (r - mean) / (std + 1e-4) of the prompt's group, or r - mean
    batch           (r - mean of the group) / (std of the whole batch + 1e-4)
    normalize_then_sum  each reward function by its own group, weighted sum, then by the whole batch

A completion that no reward function scored has NaN for a reward: it counts in no mean and its
advantage is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from gdro.core.advantages import AdvantageKind, flat_advantages
from gdro.core.types import Floats, Ints, Plan
from gdro.engines.answer import Answer
from gdro.engines.trl.batch import PromptBatch
from gdro.engines.trl.config import BY_SCALE_REWARDS, NORMALIZE_THEN_SUM, GDROConfig

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer


EPSILON = 1e-4
"""Beside a standard deviation, as in TRL."""


def combined_rewards(rewards_RK: torch.Tensor, weights_K: torch.Tensor) -> Floats:
    """(R,) weighted sum over the reward functions that have a value; NaN where none has."""
    weighted = (rewards_RK * weights_K.to(rewards_RK.device)).nansum(dim=1)
    weighted[torch.isnan(rewards_RK).all(dim=1)] = torch.nan
    values: Floats = weighted.double().cpu().numpy()
    return values


def batch_advantages(
    rewards_RK: Floats,
    rewards_R: Floats,
    weights_K: Floats,
    groups_R: Ints,
    answer: Answer,
    kind: str,
    ddof: int,
    clip: float | None,
) -> Floats:
    """(R,) unweighted advantages.

    Args:
        rewards_RK: of each reward function, NaN where it has none.
        rewards_R: combined.
        groups_R: the place of each rollout's prompt in the plan.
        answer: the controller's, whose own baselines take the place of the group's mean.
        kind: grpo, dr_grpo, rloo, batch or normalize_then_sum.
        ddof: of the groups' standard deviations; those of TRL, and so of a whole batch, have 1.
    """
    advantages = np.zeros(len(rewards_R))
    scored = ~np.isnan(rewards_R)
    if not scored.any():
        return advantages
    rewards, groups = rewards_R[scored], groups_R[scored]
    if kind == NORMALIZE_THEN_SUM:
        each = [_by_group(rewards_RK[scored, k], groups, ddof) for k in range(rewards_RK.shape[1])]
        total = np.nansum(np.stack(each, 1) * weights_K, axis=1)
        values = (total - total.mean()) / (_std(total) + EPSILON)
    elif kind == "batch":
        own = answer.own_advantages(rewards, groups, "dr_grpo")
        centred = flat_advantages(rewards, groups, "dr_grpo") if own is None else own
        values = centred / (_std(rewards) + EPSILON)
    else:
        advantage = cast(AdvantageKind, kind)
        advantages[scored] = answer.advantages(rewards, groups, advantage, ddof=ddof, clip=clip)
        return advantages
    advantages[scored] = values if clip is None else np.clip(values, -clip, clip)
    return advantages


def keeps_trls(args: GDROConfig, answer: Answer, plan: Plan) -> bool:
    """Whether TRL's own float32 advantages, of equal groups in order, are what is wanted.

    They are kept then, so that a uniform run is stock TRL's to the last bit whatever the rewards.
    """
    chosen = args.advantage in (None, BY_SCALE_REWARDS[str(args.scale_rewards)])
    stock = chosen and args.advantage_ddof == 1 and args.advantage_clip is None
    equal = bool((answer.factors == 1.0).all()) and np.ptp(plan.rollouts) == 0
    return equal and stock and (answer.feedback is None or answer.feedback.baselines is None)


def without_signal(rewards_R: Floats, groups_R: Ints) -> float:
    """Share of the rollouts whose group has equal rewards, or none."""
    prompts = int(groups_R.max()) + 1
    low, high = np.full(prompts, np.inf), np.full(prompts, -np.inf)
    scored = ~np.isnan(rewards_R)
    np.minimum.at(low, groups_R[scored], rewards_R[scored])
    np.maximum.at(high, groups_R[scored], rewards_R[scored])
    return float((low >= high)[groups_R].mean())


def _by_group(rewards_R: Floats, groups_R: Ints, ddof: int) -> Floats:
    """(R,) GRPO's advantages of one reward function; NaN where it has no value."""
    values = np.full(len(rewards_R), np.nan)
    has = ~np.isnan(rewards_R)
    if has.any():
        values[has] = flat_advantages(rewards_R[has], groups_R[has], "grpo", ddof=ddof)
    return values


def _std(values: Floats) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


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
