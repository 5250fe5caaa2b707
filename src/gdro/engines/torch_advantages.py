"""Group advantages of ragged rollout groups on torch tensors: the twin of `gdro.core.advantages`.

Rows may stand in any order; each names its group. Three kinds: `grpo` divides by the group's standard deviation
(Shao et al., arXiv 2402.03300), `dr_grpo` subtracts the mean only (Liu et al., arXiv 2503.20783), `rloo` subtracts
the mean of the others (Ahmadian et al., arXiv 2402.14740). A group whose rewards are all equal, or that has one
rollout, gets exactly zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from gdro.core.errors import OptionError, RewardError
from gdro.core.types import Floats

AdvantageKind = Literal["grpo", "dr_grpo", "rloo"]
KINDS = ("grpo", "dr_grpo", "rloo")


def flat_advantages(
    rewards_R: torch.Tensor,
    groups_R: torch.Tensor,
    kind: AdvantageKind = "grpo",
    epsilon: float = 1e-4,
    ddof: int = 0,
    clip: float | None = None,
) -> torch.Tensor:
    """Advantages of R rollouts, each against its own group.

    Args:
        rewards_R: (R,) rewards.
        groups_R: (R,) integer group of each row, from 0.
        kind: `grpo`, `dr_grpo` or `rloo`.
        epsilon: added to the standard deviation (`grpo` only).
        ddof: 0 for the population standard deviation, 1 for the unbiased one (TRL's).
        clip: bound on the absolute advantage, or None.

    Returns:
        (R,) float64 on the device of the rewards. Computed in float64: groups of equal rewards are exactly zero.

    Raises:
        OptionError: an unknown kind, or a ddof other than 0 and 1.
        RewardError: a reward that is NaN or infinite.
    """
    if kind not in KINDS:
        raise OptionError(f"advantage kind {kind!r} is unknown; choose one of {', '.join(KINDS)}")
    if ddof not in (0, 1):
        raise OptionError(f"advantage ddof is {ddof}; it must be 0 (population) or 1 (unbiased)")
    rewards = rewards_R.to(torch.float64)
    if not bool(torch.isfinite(rewards).all()):
        raise RewardError("a reward is NaN or infinite; score every rollout with a finite number")
    if rewards.numel() == 0:
        return rewards
    size, centred, spread = _group_statistics(rewards, groups_R.to(torch.int64))
    others = (size - 1).clamp(min=1)
    if kind == "rloo":
        centred = centred * size / others
    elif kind == "grpo":
        variance = _scatter_sum(centred**2, groups_R)[groups_R] / (others if ddof else size)
        centred = centred / (variance.sqrt() + epsilon)
    advantages = torch.where(spread == 0, torch.zeros_like(centred), centred)
    return advantages if clip is None else advantages.clamp(-clip, clip)


def given_advantages(
    rewards_R: torch.Tensor,
    groups_R: torch.Tensor,
    baselines: Floats | None,
    deviations: Floats | None,
    clip: float | None = None,
) -> torch.Tensor | None:
    """(R,) float64 advantages (r - baseline) / deviation of a controller's feedback; None where it gives none.

    Args:
        baselines, deviations: (M,) of `gdro.Feedback`, by group.
    """
    if baselines is None or deviations is None:
        return None
    centre, spread = (torch.from_numpy(term).to(rewards_R.device)[groups_R] for term in (baselines, deviations))
    advantages = (rewards_R.double() - centre) / spread
    return advantages if clip is None else advantages.clamp(-clip, clip)


def group_advantages(
    rewards: Sequence[torch.Tensor],
    kind: AdvantageKind = "grpo",
    epsilon: float = 1e-4,
    ddof: int = 0,
    clip: float | None = None,
) -> list[torch.Tensor]:
    """Advantages of ragged groups: one tensor of rewards a prompt in, one tensor of advantages a prompt out.

    Options and errors as in `flat_advantages`.
    """
    if not rewards:
        return []
    sizes = [int(group.numel()) for group in rewards]
    groups_R = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(rewards[0].device)
    flat = flat_advantages(torch.cat(list(rewards)), groups_R, kind, epsilon, ddof, clip)
    return list(torch.split(flat, sizes))


def _scatter_sum(values_R: torch.Tensor, groups_R: torch.Tensor) -> torch.Tensor:
    """(G,) sum of the values of each group."""
    count = int(groups_R.max()) + 1
    return torch.zeros(count, dtype=values_R.dtype, device=values_R.device).index_add_(0, groups_R, values_R)


def _group_statistics(
    rewards_R: torch.Tensor, groups_R: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(R,) size of the row's group, reward minus the group's mean, and the group's max minus min."""
    size = _scatter_sum(torch.ones_like(rewards_R), groups_R)
    mean = _scatter_sum(rewards_R, groups_R) / size.clamp(min=1)
    high = torch.full_like(mean, -torch.inf).scatter_reduce_(0, groups_R, rewards_R, "amax")
    low = torch.full_like(mean, torch.inf).scatter_reduce_(0, groups_R, rewards_R, "amin")
    return size[groups_R], rewards_R - mean[groups_R], (high - low)[groups_R]
