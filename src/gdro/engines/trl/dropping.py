"""Leave rollouts with zero advantage out of the training forward pass, with the same loss.

Without a KL term, an entropy bonus or an auxiliary loss, a row's part of every TRL loss is its
advantage times something, so a row with advantage zero adds nothing but its share of the
normaliser. The stock normaliser is kept by scaling the advantages that remain: every one of these
losses is linear in a positive factor of the advantage.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from trl import GRPOConfig

from gdro.engines.trl.batch import Inputs

SUM_LOSSES = frozenset({"dapo", "cispo", "vespo"})
"""Normalised by the tokens of the whole generation batch, which TRL counts beforehand."""
ROW_LOSSES = frozenset({"grpo", "dr_grpo", "sapo", "luspo"})
"""Averaged over rows."""
TOKEN_LOSSES = frozenset({"bnpo"})
"""Averaged over the tokens of the local batch."""


def why_not_drop(args: GRPOConfig, aux_loss: bool) -> str | None:
    """Why rows with zero advantage must stay in the forward pass, or None when dropping them is
    exact."""
    if args.loss_type not in SUM_LOSSES | ROW_LOSSES | TOKEN_LOSSES:
        return f"loss_type={args.loss_type!r} is unknown"
    if args.beta != 0.0:
        return "beta > 0: the KL term acts on every rollout"
    if args.entropy_coef != 0.0 or args.use_adaptive_entropy:
        return "the entropy bonus acts on every rollout"
    if args.top_entropy_quantile < 1.0:
        return "top_entropy_quantile < 1 ranks the tokens of every rollout"
    return "the router's auxiliary loss acts on every rollout" if aux_loss else None


def drop_rows(inputs: Inputs, keep_R: torch.Tensor, loss_type: str) -> Inputs:
    """The rows `keep_R` (indices) of a training batch, trimmed of empty columns, with the loss of
    the whole batch."""
    total = inputs["advantages"].shape[0]
    kept = {
        key: value[keep_R] if isinstance(value, torch.Tensor) and value.ndim > 0 else value
        for key, value in inputs.items()
    }
    if loss_type in ROW_LOSSES:
        kept["advantages"] = kept["advantages"] * (keep_R.numel() / total)
    elif loss_type in TOKEN_LOSSES:
        kept["advantages"] = kept["advantages"] * (_tokens(kept) / _tokens(inputs).clamp(min=1))
    return trim(kept)


def rows_to_keep(advantages_R: torch.Tensor, at_least: int) -> torch.Tensor:
    """Indices, in order, of the rows with a gradient and of as many others as make up
    `at_least`."""
    live = advantages_R != 0
    missing = at_least - int(live.sum())
    if missing > 0:
        dead = (~live).nonzero()[:missing, 0]
        live = live.index_fill(0, dead, True)
    return live.nonzero()[:, 0]


def most_of_all(accelerator: Accelerator, number: int, device: torch.device) -> int:
    """The largest `number` of any process. A forward pass is a collective: each process makes as
    many, and reads as many rows, as the one that needs most."""
    return int(accelerator.gather(torch.tensor([number], device=device)).max())


def _tokens(inputs: Inputs) -> torch.Tensor:
    mask = inputs["completion_mask"]
    count: torch.Tensor = (mask * inputs["tool_mask"] if "tool_mask" in inputs else mask).sum()
    return count


def trim(inputs: Inputs) -> Inputs:
    """Cut the columns that are padding in every row: left of the prompts, right of the
    completions."""
    prompt_mask, completion_mask = inputs["prompt_mask"], inputs["completion_mask"]
    first = int(prompt_mask.any(0).int().argmax())
    width = max(
        int(completion_mask.any(0).nonzero().amax()) + 1 if bool(completion_mask.any()) else 1, 1
    )
    columns = completion_mask.shape[1]
    trimmed = dict(inputs)
    for key, value in inputs.items():
        if key in ("prompt_ids", "prompt_mask"):
            trimmed[key] = value[:, first:]
        elif isinstance(value, torch.Tensor) and value.ndim == 2 and value.shape[1] == columns:
            trimmed[key] = value[:, :width]
    return trimmed
