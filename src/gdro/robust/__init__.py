"""Supervised group robustness: weights for a loss, from losses by group or by sample. Needs torch
alone.

    from gdro.robust import GroupDRO

    method = GroupDRO(["amazon", "movies", "news", "tweets"])
    weights = method(losses, groups=sources)  # (n,) losses in, (n,) weights of mean one out
    (weights * losses).mean().backward()

`RobustTrainer` (transformers) and `RobustSFTTrainer` (TRL) do it inside a trainer; docs/robust.md
says which method when.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gdro.robust.base import RobustMethod
from gdro.robust.batch import GroupError, LossError, RobustError, SampleIdError
from gdro.robust.cvar import CVaR, GroupConditionalDRO, waterfill
from gdro.robust.domain_weights import excess_losses, read_domain_weights, write_domain_weights
from gdro.robust.group_methods import Balanced, DoReMi, GroupDRO
from gdro.robust.q_diversity import QDiversity, group_mixup
from gdro.robust.report import GroupReport, group_report
from gdro.robust.sampler import EvenGroupSampler
from gdro.robust.variance_dro import VarianceDRO

if TYPE_CHECKING:
    from gdro.robust.sft_trainer import RobustSFTTrainer
    from gdro.robust.trainer import RobustTrainer

__all__ = [
    "Balanced",
    "CVaR",
    "DoReMi",
    "EvenGroupSampler",
    "GroupConditionalDRO",
    "GroupDRO",
    "GroupError",
    "GroupReport",
    "LossError",
    "QDiversity",
    "RobustError",
    "RobustMethod",
    "RobustSFTTrainer",
    "RobustTrainer",
    "SampleIdError",
    "VarianceDRO",
    "excess_losses",
    "group_mixup",
    "group_report",
    "read_domain_weights",
    "waterfill",
    "write_domain_weights",
]

_LAZY = {"RobustSFTTrainer": "gdro.robust.sft_trainer", "RobustTrainer": "gdro.robust.trainer"}


def __getattr__(name: str) -> Any:
    """Import the trainers, which need more than torch, on first use only."""
    if name in _LAZY:
        try:
            return getattr(import_module(_LAZY[name]), name)
        except ModuleNotFoundError as error:
            raise ImportError(f"{name} needs {error.name}: pip install 'gdro[trl]'") from error
    raise AttributeError(f"module 'gdro.robust' has no attribute {name!r}")
