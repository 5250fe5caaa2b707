"""What an update maximises: losses on groups of rollouts, and rules for which rollouts they see.

Needs torch, on first use. Each file is one method and imports the core alone, so that any engine,
or a loop of one's own, can call it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gdro.objectives.direct_reward import direct_reward_loss
    from gdro.objectives.disco import disco_loss
    from gdro.objectives.listwise import listwise_loss
    from gdro.objectives.registry import OBJECTIVES, make_objective

__all__ = ["OBJECTIVES", "direct_reward_loss", "disco_loss", "listwise_loss", "make_objective"]

_HOMES = {
    "OBJECTIVES": "registry",
    "direct_reward_loss": "direct_reward",
    "disco_loss": "disco",
    "listwise_loss": "listwise",
    "make_objective": "registry",
}


def __getattr__(name: str) -> Any:
    """Import torch on first use only: pruning and packing need numpy alone."""
    if name in _HOMES:
        return getattr(import_module(f"gdro.objectives.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gdro.objectives' has no attribute {name!r}")
