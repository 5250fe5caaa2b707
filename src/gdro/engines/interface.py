"""What an engine asks of a controller. Every controller of `gdro.controllers` meets it; so can one of your own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.types import Feedback, Metrics, Plan


class Controller(Protocol):
    """(prompt ids) -> plan; (prompt ids, rewards) -> weights. Deterministic: every process holds an equal copy."""

    @property
    def mean_rollouts(self) -> int:
        """Rollouts a prompt gets on average; a plan for M prompts has exactly M times as many."""

    @property
    def needs_losses(self) -> bool:
        """Whether `observe_losses` must be called after each update."""

    @property
    def sets_baselines(self) -> bool:
        """Whether feedback has baselines and deviations for the advantages."""

    def plan(self, prompt_ids: Sequence[str]) -> Plan:
        """Rollouts of each prompt of the batch."""

    def observe(self, prompt_ids: Sequence[str], rewards: Sequence[ArrayLike]) -> Feedback:
        """Answer the oldest outstanding plan of these prompts with its rewards; the weights come back."""

    def observe_losses(self, prompt_ids: Sequence[str], losses: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """(M,) mean unweighted surrogate loss of each prompt's rollouts (eqs. 6, 7)."""

    def cancel(self, plan: Plan) -> None:
        """Forget a plan that will never be answered."""

    def metrics(self) -> Metrics:
        """What the last observed step looked like."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on as if nothing had happened."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""


class SelectingController(Controller, Protocol):
    """A controller that also chooses each step's prompts among candidates."""

    selects: bool
    pool_factor: int
    """Candidates to offer per prompt selected, where the user says nothing."""

    def select(self, candidate_ids: Sequence[str], m: int) -> list[str]:
        """The m candidates to train on next, best first. Changes nothing."""


def leaves_choice(controller: Controller) -> bool:
    """Whether the engine's own prompts are trained on, each with `mean_rollouts`: rounds take the place of a choice."""
    equal = getattr(controller, "plans_equally", True)
    return bool(equal) and not controller.needs_losses and not selecting(controller)


def selecting(controller: Controller) -> TypeGuard[SelectingController]:
    """Whether the controller wants to choose prompts; one without an attribute `selects` does not."""
    return bool(getattr(controller, "selects", False))
