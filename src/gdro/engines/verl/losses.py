"""Each prompt's unweighted surrogate loss (arXiv 2601.19280, eqs. 4 to 7), summed on verl's
workers.

The loss function below runs on every worker in place of verl's `ppo_loss`: it returns that very
loss, and beside it one sum for each prompt and the number of rows as verl metrics of type SUM. verl
averages those over data-parallel ranks and mini-batches, so all come back times one constant, which
the ratio sum / rows cancels: the result is the same for every number of workers, micro-batches,
mini-batches and passes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from verl.trainer.ppo.core_algos import kl_penalty
from verl.utils.metric import AggregationType, Metric
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from gdro.core.types import Floats

GROUP, FACTOR = "gdro_group", "gdro_factor"
"""Fields of a row: the place of its prompt in the batch (-1 for padding), and the factor on its
advantages."""

ROWS_KEY = "gdro_loss/rows"


def sum_key(place: int) -> str:
    """Name of the metric with the loss sum of the prompt at that place."""
    return f"gdro_loss/{place:06d}"


def ppo_loss_with_sums(
    config: Any, prompts: int, model_output: Any, data: Any, dp_group: Any = None
) -> tuple[torch.Tensor, dict[str, Any]]:
    """verl's `ppo_loss`, and the surrogate loss of each of the batch's M prompts in the metrics.

    Args:
        config: verl's actor configuration.
        prompts: M.
        model_output: of one micro-batch, as verl gives it.
        data: rows of one micro-batch with the fields GROUP and FACTOR.
        dp_group: data-parallel process group.
    """
    loss, metrics = ppo_loss(config, model_output, data, dp_group)
    with torch.no_grad():
        losses_R = _row_losses(
            config, no_padding_2_padding(model_output["log_probs"], data).detach(), data
        )
        groups_R = data[GROUP].reshape(-1)
        sums_M, rows = sum_by_prompt(losses_R, groups_R, prompts)
    metrics[ROWS_KEY] = Metric(AggregationType.SUM, rows)
    for place, value in enumerate(sums_M.tolist()):
        metrics[sum_key(place)] = Metric(AggregationType.SUM, value)
    return loss, metrics


def _row_losses(config: Any, log_probs_RT: torch.Tensor, data: Any) -> torch.Tensor:
    names = ["response_mask", "old_log_probs", "advantages"] + (
        ["ref_log_prob"] if config.use_kl_loss else []
    )
    fields = data.select(*names).to_padded_tensor()
    kl_RT = None
    if config.use_kl_loss:
        kl_RT = config.kl_loss_coef * kl_penalty(
            log_probs_RT, fields["ref_log_prob"], config.kl_loss_type
        )
    low = config.clip_ratio if config.clip_ratio_low is None else config.clip_ratio_low
    high = config.clip_ratio if config.clip_ratio_high is None else config.clip_ratio_high
    advantages_RT = unweighted(fields["advantages"], data[FACTOR])
    ratio_RT = torch.exp(log_probs_RT - fields["old_log_probs"])
    return surrogate_losses(ratio_RT, advantages_RT, fields["response_mask"], kl_RT, low, high)


def unweighted(advantages_RT: torch.Tensor, factors_R: torch.Tensor) -> torch.Tensor:
    """(R, T) advantages before the factors (R,); 0 where the factor is 0, as for the one rollout
    that is left of a group."""
    factors = factors_R.reshape(-1, 1)
    return advantages_RT / torch.where(factors == 0.0, 1.0, factors)


def surrogate_losses(
    ratio_RT: torch.Tensor,
    advantages_RT: torch.Tensor,
    mask_RT: torch.Tensor,
    kl_RT: torch.Tensor | None,
    low: float,
    high: float,
) -> torch.Tensor:
    """(R,) float64: minus the token mean of the clipped objective (eqs. 4, 5), plus the weighted KL
    (eq. 6)."""
    clipped_RT = ratio_RT.clamp(1 - low, 1 + high)
    loss_RT = -torch.minimum(ratio_RT * advantages_RT, clipped_RT * advantages_RT)
    if kl_RT is not None:
        loss_RT = loss_RT + kl_RT
    mask_RT = mask_RT.to(torch.float64)
    return (loss_RT.double() * mask_RT).sum(1) / mask_RT.sum(1).clamp(min=1)


def sum_by_prompt(
    losses_R: torch.Tensor, groups_R: torch.Tensor, prompts: int
) -> tuple[torch.Tensor, float]:
    """(M,) sums of the rows of each prompt, and the number of rows; padding rows (group -1) are
    left out."""
    real = groups_R >= 0
    sums_M = torch.zeros(prompts, dtype=torch.float64, device=losses_R.device)
    sums_M.index_add_(0, groups_R[real].to(torch.int64), losses_R[real].double())
    return sums_M, float(real.sum())


def take_sums(metrics: dict[str, Any], prompts: int) -> tuple[Floats, float]:
    """Remove the sums from the trainer's metrics: (M,) sums and the number of rows, both times one
    constant."""
    sums_M = np.array(
        [metrics.pop(f"actor/{sum_key(place)}") for place in range(prompts)], np.float64
    )
    return sums_M, float(metrics.pop(f"actor/{ROWS_KEY}"))
