"""Listwise preference loss of a group of scored items: the core of group-level direct reward
optimisation.

After arXiv 2601.02036 [P]. Items of a group by falling reward, score s, temperature tau:

    loss = sum_{i<k} [ log sum_{m>=i} exp(s_m) - sum_{j>=i} q_i(j) s_j ]
    q_i  = softmax of r_j / tau over j >= i

the cross-entropy, place by place, between the order that the rewards ask for and the Plackett-Luce
model of the scores. `full` has all places, `top1` the first alone. With two items and tau -> 0 it
is the loss of DPO, -log sigmoid(s_1 - s_2).

Ours [M]: with ties the sum over m >= i would depend on the order in which tied items are listed.
Each item i therefore faces {m : r_m <= r_i}, its equals included (Breslow's rule for ties in Cox's
partial likelihood): nothing depends on the order, and without ties nothing changes. A place whose
items all have the same reward states no preference and is left out; so a group of one, or of equal
rewards, has no gradient. Such groups are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from gdro.core.errors import OptionError
from gdro.objectives.rows import Groups, check_rows

ListwiseMode = Literal["full", "top1"]
Reduction = Literal["mean", "sum", "none"]


@dataclass(frozen=True, slots=True)
class ListwiseLoss:
    """A listwise loss and what to watch beside it.

    Attributes:
        loss: scalar; with `reduction="none"` (G,), one a group in rising order of its integer. It
            has a graph even if no group states a preference (its gradient is then zero).
        groups: number of groups, G.
        singletons: groups of one item.
        tied: groups of two or more items with one reward.
        rank_agreement: share of the pairs of different reward in a group that the scores order in
            the same way (a tie of scores counts half); NaN without such a pair.
        mean_score: mean of s over all items.
        winner_score, loser_score: mean of s over the best and over the worst items of the groups
            that state a preference; NaN without such a group.
    """

    loss: torch.Tensor
    groups: int
    singletons: int
    tied: int
    rank_agreement: float
    mean_score: float
    winner_score: float
    loser_score: float

    def metrics(self) -> dict[str, float]:
        """The diagnostics by name, for a log."""
        return {
            "groups": float(self.groups),
            "groups_of_one": float(self.singletons),
            "groups_of_equal_rewards": float(self.tied),
            "rank_agreement": self.rank_agreement,
            "score_mean": self.mean_score,
            "score_winner": self.winner_score,
            "score_loser": self.loser_score,
        }


def listwise_loss(
    score: torch.Tensor,
    reward: torch.Tensor,
    group: torch.Tensor,
    tau: float = 0.05,
    mode: ListwiseMode = "full",
    reduction: Reduction = "mean",
    *,
    names: Sequence[str] | None = None,
) -> ListwiseLoss:
    """The listwise loss of ragged groups (module docstring).

    Args:
        score: (N,) s of each item, with a graph; in nats. For a policy beta * log(pi / pi_ref).
        reward: (N,) reward of each item, in any unit; only r / tau counts.
        group: (N,) integers; items with the same integer are compared. Any order, any sizes.
        tau: temperature of the target, in units of the reward, >= 0. 0 is its limit: the best item
            alone, shared evenly among equals.
        mode: `full`, all places; `top1`, the first place.
        reduction: `mean` over the groups that state a preference, `sum` over them, or `none`:
            (G,), 0 for the others.
        names: what to call group g in an error, `names[g]`.

    Raises:
        ObjectiveError, RewardError: a shape that does not fit, NaN or infinity; names the row and
            its prompt.
        OptionError: tau, mode or reduction out of range.
    """
    _check_options(tau, mode, reduction)
    check_rows(group, names, score=score, reward=reward)
    groups = Groups.of(group)
    score = score.float() if score.dtype in (torch.float16, torch.bfloat16) else score
    reward = reward if reward.dtype in (torch.float32, torch.float64) else reward.float()
    scores_GK = groups.grid(score, -torch.inf)
    rewards_GK = groups.grid(reward, -torch.inf)
    best = rewards_GK.amax(1) if rewards_GK.numel() else rewards_GK.sum(1)
    worst = groups.grid(reward, torch.inf).amin(1) if rewards_GK.numel() else best
    states = best > worst
    per_group = _places(scores_GK, rewards_GK, worst, tau, top1=mode == "top1")
    if reduction == "none":
        loss = per_group
    else:
        loss = per_group.sum() + 0.0 * score.sum()
        loss = loss / states.sum().clamp(min=1) if reduction == "mean" else loss
    scores, rewards = scores_GK.detach(), rewards_GK
    return ListwiseLoss(
        loss=loss,
        groups=len(groups.size),
        singletons=int((groups.size == 1).sum()),
        tied=int((~states & (groups.size > 1)).sum()),
        rank_agreement=_agreement(scores, rewards),
        mean_score=float(score.detach().mean()) if len(score) else torch.nan,
        winner_score=_mean(scores, (rewards == best[:, None]) & states[:, None]),
        loser_score=_mean(scores, (rewards == worst[:, None]) & states[:, None]),
    )


def _places(
    scores_GK: torch.Tensor,
    rewards_GK: torch.Tensor,
    worst_G: torch.Tensor,
    tau: float,
    *,
    top1: bool,
) -> torch.Tensor:
    """(G,) sum over places of log-sum-exp minus the target's mean score; padding is -inf."""
    if scores_GK.numel() == 0:
        return scores_GK.sum(1)
    item = torch.isfinite(rewards_GK)
    faces = item[:, None, :] & (rewards_GK[:, None, :] <= rewards_GK[:, :, None])  # G, place, rival
    # At the lowest reward there is nobody to be preferred to.
    counts = item & (rewards_GK > worst_G[:, None])
    if top1:
        first = torch.where(item, rewards_GK, -torch.inf).argmax(1, keepdim=True)
        counts = counts & (torch.arange(item.shape[1], device=item.device)[None, :] == first)
    # Zeros stand in where nothing counts: a log-sum-exp over -inf alone has a NaN gradient.
    used = faces & counts[:, :, None]
    rivals = torch.where(used, scores_GK[:, None, :], -torch.inf)
    rivals = torch.where(counts[:, :, None], rivals, 0.0)
    gap = torch.where(used, rewards_GK[:, None, :] - rewards_GK[:, :, None], -torch.inf)
    gap = torch.where(counts[:, :, None], gap, 0.0)
    logits = gap / tau if tau > 0.0 else torch.where(gap == 0.0, 0.0, -torch.inf)
    target = torch.softmax(logits, -1).to(scores_GK)
    own = torch.where(used, scores_GK[:, None, :], 0.0)
    each = torch.logsumexp(rivals, -1) - (target * own).sum(-1)
    return torch.where(counts, each, 0.0).sum(1)


def _agreement(scores_GK: torch.Tensor, rewards_GK: torch.Tensor) -> float:
    if scores_GK.numel() == 0:
        return torch.nan
    item = torch.isfinite(rewards_GK)
    better = item[:, :, None] & item[:, None, :] & (rewards_GK[:, :, None] > rewards_GK[:, None, :])
    gap = torch.where(better, scores_GK[:, :, None] - scores_GK[:, None, :], 0.0)
    right = (gap > 0.0).double() + 0.5 * (gap == 0.0).double()
    return _mean(right, better)


def _mean(values: torch.Tensor, where: torch.Tensor) -> float:
    chosen = values[where]
    return float(chosen.double().mean()) if chosen.numel() else torch.nan


def _check_options(tau: float, mode: str, reduction: str) -> None:
    if not 0.0 <= tau < float("inf"):
        raise OptionError(f"tau={tau!r}: it must be a finite number >= 0, in units of the reward")
    if mode not in ("full", "top1"):
        raise OptionError(f"mode={mode!r}: choose full or top1")
    if reduction not in ("mean", "sum", "none"):
        raise OptionError(f"reduction={reduction!r}: choose mean, sum or none")
