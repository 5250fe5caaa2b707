"""Group-level direct reward optimisation for language models: offline, from groups and rewards.

The loss of arXiv 2601.02036 [P], whose scores are those of a flow model (`gdro.diffusion`), with
the score of a language model in their place [M]:

    s = beta (log pi(completion) - log pi_ref(completion))

the implicit reward of DPO (arXiv 2305.18290), so that groups of two with a target at tau -> 0 have
the loss of DPO. `beta` is for the sum over tokens, as in DPO; `length_normalised` takes the mean.
The listwise part is `gdro.objectives.listwise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gdro.core.errors import OptionError
from gdro.objectives.batchwise import ObjectiveLoss, masked, mean_by_group
from gdro.objectives.listwise import ListwiseMode, listwise_loss
from gdro.objectives.rows import Groups, check_rows


@dataclass(frozen=True, slots=True)
class DirectReward:
    """Preferences of a group by its rewards, against the policy that sampled or a reference.

    Attributes:
        beta: weight of the log-ratio to the reference in nats, > 0. .1 is DPO's custom.
        tau: temperature of the target in units of the reward, >= 0; .05 [P].
        mode: `full` or `top1` (see `listwise_loss`).
        length_normalised: mean over tokens in place of the sum.

    Raises:
        OptionError: a value out of range.
    """

    beta: float = 0.1
    tau: float = 0.05
    mode: ListwiseMode = "full"
    length_normalised: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.beta < float("inf"):
            raise OptionError(f"beta={self.beta!r}: it must be positive and finite")
        if not 0.0 <= self.tau < float("inf"):
            raise OptionError(f"tau={self.tau!r}: it must be finite and >= 0")
        if self.mode not in ("full", "top1"):
            raise OptionError(f"mode={self.mode!r}: choose full or top1")

    @property
    def reads_level(self) -> bool:
        """The score is a ratio."""
        return False

    def matters(self, reward: torch.Tensor, group: torch.Tensor, on_policy: bool) -> torch.Tensor:
        """(R,) rollouts of groups with different rewards."""
        groups = Groups.of(group)
        lowest = reward.new_full((len(groups.size),), torch.inf)
        lowest = lowest.scatter_reduce(0, groups.number, reward, "amin")
        return groups.mixed(reward > lowest[groups.number])

    def values(
        self, logp: torch.Tensor, logp_ref: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """(R, 2) of each completion: s, and the tokens of it."""
        ratio = (masked(logp, mask) - masked(logp_ref, mask)).sum(1)
        tokens = mask.bool().sum(1).to(ratio)
        if self.length_normalised:
            ratio = ratio / tokens.clamp(min=1.0)
        return torch.stack([self.beta * ratio, tokens], 1)

    def loss(
        self,
        values: torch.Tensor,
        reward: torch.Tensor,
        group: torch.Tensor,
        *,
        weight: torch.Tensor | None = None,
        names: Sequence[str] | None = None,
    ) -> ObjectiveLoss:
        """The loss of the whole batch: mean over the groups that state a preference.

        Args:
            values: (R, 2) from `values`, of all micro-batches and processes. A completion without
                a token takes no part.
            reward: (R,) reward of each completion.
            group: (R,) integers; completions of one prompt share one.
            weight: (R,) weight of each completion's prompt; 1 by default.
            names: what to call prompt g in an error, `names[g]`.

        Raises:
            ObjectiveError, RewardError: NaN or infinity, or a shape that does not fit; names the
                prompt.
        """
        check_rows(group, names, **{"log-probabilities": values, "reward": reward})
        present = values[:, 1].detach() > 0
        score, reward, own = values[present, 0], reward[present], group[present]
        result = listwise_loss(score, reward, own, self.tau, self.mode, "none", names=names)
        each = result.loss
        if weight is not None:
            each = each * mean_by_group(Groups.of(own), weight[present], names).to(each)
        states = result.groups - result.singletons - result.tied
        loss = each.sum() / max(states, 1) + 0.0 * values.sum()
        metrics = result.metrics() | {"rollouts_without_tokens": float((~present).sum())}
        return ObjectiveLoss(loss, metrics)


def direct_reward_loss(
    logp: torch.Tensor,
    logp_ref: torch.Tensor,
    mask: torch.Tensor,
    reward: torch.Tensor,
    group: torch.Tensor,
    beta: float = 0.1,
    tau: float = 0.05,
    mode: ListwiseMode = "full",
    *,
    length_normalised: bool = False,
    weight: torch.Tensor | None = None,
    names: Sequence[str] | None = None,
) -> ObjectiveLoss:
    """The loss of one whole optimiser batch (module docstring).

    Args:
        logp: (R, T) log-probability of each token under the policy, with a graph; in nats.
        logp_ref: (R, T) under the reference.
        mask: (R, T) 1 for the tokens of the completion, 0 for padding, whose values are not read.
        reward: (R,) reward of each completion.
        group: (R,) integers; completions of one prompt share one. Any order, any sizes.
        beta, tau, mode, length_normalised: see `DirectReward`.
        weight: (R,) weight of each completion's prompt, equal within it; 1 by default.
        names: what to call prompt g in an error, `names[g]`.

    Returns:
        The loss, with a graph even if no group states a preference, and metrics.

    Raises:
        OptionError: an option out of range.
        ObjectiveError, RewardError: NaN or infinity, or a shape that does not fit; names the
            prompt.
    """
    options = DirectReward(beta, tau, mode, length_normalised)
    values = options.values(logp, logp_ref, mask)
    return options.loss(values, reward, group, weight=weight, names=names)
