"""The place for another loss than TRL's: what a loss is given, and what it must say of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True, slots=True)
class LossTerms:
    """One pass over a micro-batch of R rollouts of at most T tokens, on this process.

    Rollouts of a prompt may lie in several micro-batches and processes: the generation batch was
    shuffled before it was split.

    Attributes:
        logps: (R, T) log-probabilities of the completion tokens, with a graph.
        old_logps: (R, T) those of the policy that sampled; without a graph.
        ref_logps: (R, T) those of the reference, or None where beta = 0.
        mask: (R, T) 1 for a token that the policy made.
        advantages: (R,) as trained on: by prompt id, times weight and nbar / n_i.
        unweighted: (R,) the same before weight and nbar / n_i.
        rewards: (R,) the weighted sum of the reward functions; NaN where none scored.
        groups: (R,) the place of each rollout's prompt in its generation batch.
        window: micro-batches whose gradients are added up before the optimizer moves.
        correction: (R, T) or (R, 1) importance ratio by which TRL's own loss corrects for vLLM's
            log-probabilities; None where there is none.
    """

    logps: torch.Tensor
    old_logps: torch.Tensor
    ref_logps: torch.Tensor | None
    mask: torch.Tensor
    advantages: torch.Tensor
    unweighted: torch.Tensor
    rewards: torch.Tensor
    groups: torch.Tensor
    window: int
    correction: torch.Tensor | None = None


class Objective(Protocol):
    """A loss that takes the place of TRL's."""

    @property
    def zero_advantage_is_dead(self) -> bool:
        """Whether a rollout of advantage zero adds nothing, so that it may be left out."""

    def __call__(self, terms: LossTerms) -> torch.Tensor:
        """The scalar to differentiate, already divided by `terms.window`."""
