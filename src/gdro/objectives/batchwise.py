"""Losses that compare rollouts with each other, over micro-batches and processes, exactly.

Such a loss depends on the policy only through a few numbers of each rollout, v_j (R, V): its score,
its KL. So the gradient is exactly sum_j c_j dv_j with c = dLoss/dv, and the c of all rollouts can
be had before any of them is differentiated:

    1. values of every rollout without a graph, gathered over micro-batches and processes;
    2. `coefficients` from all of them: one small computation, the same in every process;
    3. each micro-batch's loss is `linear_loss`, the sum of c_j v_j over its own rollouts.

A group may lie in any number of micro-batches and processes. Rollouts whose coefficients are all
zero (`has_gradient`) may be left out of step 3: nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from gdro.core.errors import OptionError
from gdro.objectives.rows import Groups, ObjectiveError, prompt_name


@dataclass(frozen=True, slots=True)
class ObjectiveLoss:
    """A loss and what to watch beside it.

    Attributes:
        loss: scalar with a graph.
        metrics: numbers for a log, by name.
    """

    loss: torch.Tensor
    metrics: dict[str, float]


class GroupObjective(Protocol):
    """A loss on groups of rollouts, in the two halves that micro-batches need."""

    @property
    def reads_level(self) -> bool:
        """Whether the values depend on log-probabilities beside log pi - log pi_old. Where not, and
        the policy has not moved since it sampled, they are known without a forward pass."""
        ...

    def matters(self, reward: torch.Tensor, group: torch.Tensor, on_policy: bool) -> torch.Tensor:
        """(R,) False for rollouts that have no gradient whatever their values, given that log pi =
        log pi_old if `on_policy`."""
        ...

    def values(
        self, logp: torch.Tensor, logp_old: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """(R, V) all that the loss needs of each rollout, from (R, T); differentiable in logp, a
        rollout's row depending on its own tokens alone."""
        ...

    def loss(
        self,
        values: torch.Tensor,
        reward: torch.Tensor,
        group: torch.Tensor,
        *,
        weight: torch.Tensor | None = None,
        names: Sequence[str] | None = None,
    ) -> ObjectiveLoss:
        """The loss of the whole batch from the (R, V) values of its rollouts."""
        ...


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Step 2: the gradient of the whole batch's loss with respect to each rollout's values.

    Attributes:
        each: (R, V) dLoss / dv, constants.
        loss: the loss of the whole batch, for the log.
        metrics: its metrics.
    """

    each: torch.Tensor
    loss: float
    metrics: dict[str, float]

    @property
    def has_gradient(self) -> torch.Tensor:
        """(R,) False for the rollouts that may be left out of the training pass."""
        return (self.each != 0.0).any(1)


def coefficients(
    objective: GroupObjective,
    values: torch.Tensor,
    reward: torch.Tensor,
    group: torch.Tensor,
    *,
    weight: torch.Tensor | None = None,
    names: Sequence[str] | None = None,
) -> Coefficients:
    """Step 2, from the (R, V) values of all rollouts of the optimiser batch.

    Raises:
        ObjectiveError, RewardError: as the objective's own `loss`.
    """
    free = values.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        result = objective.loss(free, reward, group, weight=weight, names=names)
        (each,) = torch.autograd.grad(result.loss, free)
    return Coefficients(each, float(result.loss.detach()), result.metrics)


def linear_loss(each: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Step 3: the part of some rollouts in the loss, right in its gradient (its value is not the
    loss). Sums over micro-batches and processes to the gradient of the whole batch.

    Args:
        each: (R, V) coefficients of these rollouts.
        values: (R, V) their values, with a graph.
    """
    return (each.to(values) * values).sum()


def masked(logp: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(R, T) log-probabilities in single precision or better, 0 where the mask is.

    Raises:
        ObjectiveError: shapes that differ.
    """
    if logp.ndim != 2 or logp.shape != mask.shape:
        raise ObjectiveError(
            f"log-probabilities are {tuple(logp.shape)}, the mask is {tuple(mask.shape)}; "
            "both must be (rollouts, tokens)"
        )
    wide = logp.float() if logp.dtype in (torch.float16, torch.bfloat16) else logp
    return torch.where(mask.bool(), wide, 0.0)


def mean_by_group(
    groups: Groups, weight: torch.Tensor, names: Sequence[str] | None
) -> torch.Tensor:
    """(G,) the weight of each group, from (R,) of its rows.

    Raises:
        ObjectiveError: rows of one group have different weights; names the prompt.
        OptionError: a weight that is negative or no number; names the prompt.
    """
    if weight.shape != groups.number.shape:
        raise ObjectiveError(f"weight is {tuple(weight.shape)} for {len(groups.number)} rollouts")
    group = groups.labels[groups.number]
    bad = ~(torch.isfinite(weight) & (weight >= 0.0))
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        name, value = prompt_name(group, row, names), float(weight[row])
        raise OptionError(f"the weight of {name} is {value:g}; it must be finite and >= 0")
    mean = groups.sum(weight) / groups.size
    far = (weight - mean[groups.number]).abs() > 1e-6 * mean[groups.number].abs()
    if bool(far.any()):
        name = prompt_name(group, int(far.nonzero()[0]), names)
        raise ObjectiveError(f"rollouts of {name} have different weights; a question has one")
    return mean
