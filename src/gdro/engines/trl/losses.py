"""Each prompt's unweighted surrogate loss (eqs. 4 to 7), gathered from the training forward
passes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gdro.core.types import Floats


@dataclass(frozen=True, slots=True)
class SurrogateTerms:
    """What eqs. 4 to 6 need beside the log-probabilities.

    Attributes:
        epsilon_low: lower clip range.
        epsilon_high: upper clip range.
        beta: weight of the KL term.
    """

    epsilon_low: float
    epsilon_high: float
    beta: float


def surrogate_losses(
    logps_RT: torch.Tensor,
    old_logps_RT: torch.Tensor | None,
    ref_logps_RT: torch.Tensor | None,
    advantages_R: torch.Tensor,
    mask_RT: torch.Tensor,
    terms: SurrogateTerms,
    correction: torch.Tensor | None = None,
) -> torch.Tensor:
    """(R,) per-rollout loss: minus the token mean of the clipped objective, plus beta times the KL
    to the reference.

    Without old log-probabilities the policy has not moved since sampling, so every ratio is 1.

    Args:
        correction: (R, T) or (R, 1) importance ratio of training over sampling policy, by which
            TRL's loss multiplies the objective where vLLM has sampled.
    """
    advantages = advantages_R[:, None]
    ratio = (
        torch.ones_like(logps_RT) if old_logps_RT is None else torch.exp(logps_RT - old_logps_RT)
    )
    clipped = ratio.clamp(1 - terms.epsilon_low, 1 + terms.epsilon_high)
    per_token = -torch.minimum(ratio * advantages, clipped * advantages)
    if correction is not None:
        per_token = per_token * correction
    if ref_logps_RT is not None and terms.beta != 0.0:
        gap = ref_logps_RT - logps_RT
        per_token = per_token + terms.beta * (torch.exp(gap) - gap - 1)
    return (per_token * mask_RT).sum(1) / mask_RT.sum(1).clamp(min=1)


class LossLedger:
    """Sums of the rollouts' losses by prompt, over the micro-batches and passes of one generation
    batch.

    Attributes:
        prompt_ids: (M,) the prompts of the batch; empty when there is none under way.
        sums: (M,) local sum of losses.
        rows: (M,) local number of rollouts counted, those of zero loss included.
    """

    def __init__(self) -> None:
        self.prompt_ids: tuple[str, ...] = ()
        self.sums: Floats = np.zeros(0)
        self.rows: Floats = np.zeros(0)

    def start(self, prompt_ids: tuple[str, ...]) -> None:
        """Begin a generation batch."""
        self.prompt_ids = prompt_ids
        self.sums, self.rows = np.zeros(len(prompt_ids)), np.zeros(len(prompt_ids))

    def count(self, groups_R: torch.Tensor) -> None:
        """Count the rollouts of one micro-batch, before any is dropped (a dropped one has loss
        0)."""
        np.add.at(self.rows, groups_R.cpu().numpy(), 1.0)

    def add(self, groups_R: torch.Tensor, losses_R: torch.Tensor) -> None:
        """Add the losses of the rollouts that took part in the forward pass."""
        np.add.at(self.sums, groups_R.cpu().numpy(), losses_R.double().cpu().numpy())

    def stacked(self) -> torch.Tensor:
        """(2, M) float64 sums and counts, for the gather over processes."""
        return torch.from_numpy(np.stack([self.sums, self.rows]))


def mean_losses(stacked_P2M: torch.Tensor) -> Floats:
    """(M,) mean loss of each prompt's rollouts, from the gathered sums and counts of P
    processes."""
    sums, rows = stacked_P2M.cpu().numpy().sum(0)
    means: Floats = sums / rows
    return means
