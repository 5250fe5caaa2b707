"""Losses on groups of generated images: squared velocity errors and rewards in, a scalar out.

Group-level direct reward optimisation, after arXiv 2601.02036 [P]. Every image x of a group is
noised with the SAME noise and time, and

    s(x) = -beta (err(x) - err_ref(x))          the implicit reward, eq. 5
    loss = listwise loss of s and the rewards   eqs. 6 (`top1`) and 7 (`full`)
         + gamma * err of the best image        the winner anchor, eq. 8

where err is the squared error of the trained model and err_ref that of the frozen one. With groups
of two and tau -> 0 it is the loss of Diffusion-DPO (arXiv 2311.12908).

WHAT BETA MULTIPLIES. The loss takes err as it is given. `gdro diffusion` gives the MEAN over the
elements of the latent, as diffusers' scripts do; whoever gives the sum divides beta by the number
of elements. diffusers' `beta_dpo` has a factor 1/2 in front: beta_dpo 5000 there is beta 2500 here.

DGPO (arXiv 2510.08425), which works on the same quantities, stands beside it for comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gdro.core.errors import OptionError
from gdro.objectives.listwise import ListwiseMode, Reduction, listwise_loss
from gdro.objectives.rows import Groups, check_rows


@dataclass(frozen=True, slots=True)
class GroupLoss:
    """A loss on groups of images and what to watch beside it.

    Attributes:
        loss: scalar, or (G,) with `reduction="none"`, one a group in rising order of its integer.
            It has a graph even where no group states a preference (its gradient is then zero).
        groups: number of groups.
        stating: groups with two different rewards at least; the others teach nothing.
        singletons, tied: the groups that state nothing: of one image, of equal rewards.
        rank_agreement: share of the pairs of different reward that s orders in the same way (a tie
            counts half); NaN without such a pair. .5 before training.
        mean_s: mean of s over all images.
        winner_err, loser_err: err of the best and of the worst images (the mean over equals), the
            mean over the stating groups.
        winner_err_ref, loser_err_ref: the same of err_ref. A winner's error that rises together
            with the loser's is how these losses go wrong: the order is right, the images are noise.
        clamped: share of images whose s was at the clamp.
    """

    loss: torch.Tensor
    groups: int
    stating: int
    singletons: int
    tied: int
    rank_agreement: float
    mean_s: float
    winner_err: float
    loser_err: float
    winner_err_ref: float
    loser_err_ref: float
    clamped: float

    def metrics(self) -> dict[str, float]:
        """The diagnostics by name, for a log."""
        return {name: float(getattr(self, name)) for name in self.__slots__ if name != "loss"}


def group_direct_reward_loss(
    err: torch.Tensor,
    err_ref: torch.Tensor,
    reward: torch.Tensor,
    group: torch.Tensor,
    beta: float,
    tau: float = 0.05,
    mode: ListwiseMode = "full",
    reduction: Reduction = "mean",
    *,
    gamma: float = 0.0,
    clamp: float | None = None,
    names: Sequence[str] | None = None,
) -> GroupLoss:
    """The loss of group-level direct reward optimisation (module docstring).

    Args:
        err: (N,) squared velocity (or noise) error of the trained model, with a graph. Noise and
            time must be shared by the images of a group.
        err_ref: (N,) the same of the reference; no gradient flows through it.
        reward: (N,) any unit; only reward / tau counts.
        group: (N,) integers; images with the same integer are compared. Any order, any sizes.
        beta: > 0, per unit of err: see WHAT BETA MULTIPLIES above.
        tau: >= 0, in units of the reward; 0 is the limit (the best alone, shared among equals).
        mode: `full`, all places of the ranking; `top1`, the first.
        reduction: `mean` over the groups that state a preference, `sum` over them, or `none`.
        gamma: >= 0, weight of the winner anchor: err of the best image (the mean over equals).
        clamp: bound on |s|; beyond it an image is neither pushed nor pulled. None is no bound.
        names: what to call group g in an error, `names[g]`.

    Raises:
        ObjectiveError, RewardError: a shape that does not fit, NaN or infinity; names the row.
        OptionError: beta, tau, gamma, clamp, mode or reduction out of range.
    """
    _check_options(beta, gamma, clamp)
    check_rows(group, names, err=err, err_ref=err_ref, reward=reward)
    raw = -beta * (err.float() if err.dtype != torch.float64 else err) + beta * err_ref.detach()
    s = raw if clamp is None else raw.clamp(-clamp, clamp)
    preference = listwise_loss(s, reward, group, tau, mode, reduction, names=names)
    sides = _Sides.of(reward, group)
    loss = preference.loss
    if gamma > 0.0:
        anchor = _per_group_mean(err, sides.best, sides.groups)
        if reduction == "none":
            loss = loss + gamma * torch.where(sides.states, anchor, 0.0)
        else:
            total = anchor[sides.states].sum()
            loss = loss + gamma * (total / max(sides.stating, 1) if reduction == "mean" else total)
    bounded = (
        0.0
        if clamp is None or not len(raw)
        else float((raw.detach().abs() > clamp).double().mean())
    )
    return _report(
        loss, err, err_ref, sides, preference.rank_agreement, preference.mean_score, bounded
    )


def dgpo_loss(
    err: torch.Tensor,
    err_ref: torch.Tensor,
    reward: torch.Tensor,
    group: torch.Tensor,
    beta: float,
    reduction: Reduction = "mean",
    *,
    names: Sequence[str] | None = None,
) -> GroupLoss:
    """Direct group preference optimisation (arXiv 2510.08425), as its authors' release computes it.

    With A = (reward - mean) / standard deviation of the group (ddof 0, + 1e-4), shared noise and
    time:

        loss = mean over images of sigmoid(beta mean_group A (err - err_ref)) * A * err

    the sigmoid without a gradient: it is 1/2 at the start and falls once the better images of a
    group have gained on the worse ones. That is the gradient of -log sigmoid(-beta mean A (err -
    err_ref)) divided by beta, so the learning rate, not beta, sets the size of a step. Arguments
    and errors as in `group_direct_reward_loss`; beta is per unit of err there as well.
    """
    _check_options(beta, 0.0, None)
    if reduction not in ("mean", "sum", "none"):
        raise OptionError(f"reduction={reduction!r}: choose mean, sum or none")
    check_rows(group, names, err=err, err_ref=err_ref, reward=reward)
    sides = _Sides.of(reward, group)
    groups = sides.groups
    count = groups.size.to(err.dtype)
    gap = reward.to(err.dtype) - (groups.sum(reward.to(err.dtype)) / count)[groups.number]
    spread = (groups.sum(gap.square()) / count).sqrt()
    advantage = gap / (spread[groups.number] + 1e-4) * sides.states[groups.number]
    gained = groups.sum(advantage * (err - err_ref).detach()) / count
    each = groups.sum(torch.sigmoid(beta * gained)[groups.number] * advantage * err) / count
    loss = each if reduction == "none" else each.sum()
    if reduction == "mean":
        loss = loss / max(sides.stating, 1)
    score = -beta * (err - err_ref).detach()
    watched = listwise_loss(score, reward, group, 0.0, "top1", names=names)
    return _report(loss, err, err_ref, sides, watched.rank_agreement, watched.mean_score, 0.0)


@dataclass(frozen=True, slots=True)
class _Sides:
    """The best and the worst images of every group.

    Attributes:
        groups: the groups.
        best, worst: (N,) whether an image is among them.
        states: (G,) whether the group has two different rewards.
        stating: how many have.
    """

    groups: Groups
    best: torch.Tensor
    worst: torch.Tensor
    states: torch.Tensor
    stating: int

    @classmethod
    def of(cls, reward: torch.Tensor, group: torch.Tensor) -> _Sides:
        groups = Groups.of(group)
        top = reward.new_full((len(groups.size),), -torch.inf)
        top = top.scatter_reduce(0, groups.number, reward, "amax")
        low = -reward.new_full((len(groups.size),), -torch.inf).scatter_reduce(
            0, groups.number, -reward, "amax"
        )
        states = top > low
        inside = states[groups.number]
        best, worst = (
            (reward == top[groups.number]) & inside,
            (reward == low[groups.number]) & inside,
        )
        return cls(groups, best, worst, states, int(states.sum()))


def _per_group_mean(values: torch.Tensor, chosen: torch.Tensor, groups: Groups) -> torch.Tensor:
    """(G,) mean of the chosen (N,) values of each group; 0 where none is chosen."""
    mask = chosen.to(values.dtype)
    return groups.sum(values * mask) / groups.sum(mask).clamp(min=1.0)


def _report(
    loss: torch.Tensor,
    err: torch.Tensor,
    err_ref: torch.Tensor,
    sides: _Sides,
    agreement: float,
    mean_s: float,
    clamped: float,
) -> GroupLoss:
    size = sides.groups.size
    return GroupLoss(
        loss=loss,
        groups=len(size),
        stating=sides.stating,
        singletons=int((size == 1).sum()),
        tied=int((~sides.states & (size > 1)).sum()),
        rank_agreement=agreement,
        mean_s=mean_s,
        winner_err=_over_groups(err, sides.best, sides),
        loser_err=_over_groups(err, sides.worst, sides),
        winner_err_ref=_over_groups(err_ref, sides.best, sides),
        loser_err_ref=_over_groups(err_ref, sides.worst, sides),
        clamped=clamped,
    )


def _over_groups(values: torch.Tensor, chosen: torch.Tensor, sides: _Sides) -> float:
    """The mean over the stating groups of that of their chosen (N,) values; NaN without one."""
    of_group = _per_group_mean(values.detach().double(), chosen, sides.groups)[sides.states]
    return float(of_group.mean()) if of_group.numel() else torch.nan


def _check_options(beta: float, gamma: float, clamp: float | None) -> None:
    if not 0.0 < beta < float("inf"):
        raise OptionError(f"beta={beta!r}: it must be a finite number above 0, per unit of err")
    if not 0.0 <= gamma < float("inf"):
        raise OptionError(f"gamma={gamma!r}: it must be a finite number >= 0")
    if clamp is not None and not 0.0 < clamp < float("inf"):
        raise OptionError(
            f"clamp={clamp!r}: it must be a finite number above 0, or None for no bound"
        )
