"""Uniform: plain GRPO behind the common interface. Every prompt gets nbar rollouts and weight 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gdro.controllers.base import Controller


@dataclass(kw_only=True, eq=False)
class Uniform(Controller):
    """The baseline; it still classifies prompts, so its runs show the same diagnostics."""

    name: ClassVar[str] = "uniform"
