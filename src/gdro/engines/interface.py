"""What an engine asks of a controller. Every controller of gdro meets it; so can one of your
own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import ArrayLike

from gdro.core.errors import OptionError
from gdro.core.types import Feedback, Metrics, Plan, Rewards


class Controller(Protocol):
    """(prompt ids) -> plan; (prompt ids, rewards) -> weights.

    Deterministic: every process of a run holds an equal copy, and a saved one goes on as if it had
    never stopped. Derive yours from `gdro.Controller`, which has all of this.
    """

    @property
    def name(self) -> str:
        """What messages and checkpoints call it."""

    @property
    def selects(self) -> bool:
        """Whether it answers `select`."""

    @property
    def pool_factor(self) -> int:
        """Candidates to offer per prompt selected, where the user says nothing."""

    @property
    def mean_rollouts(self) -> int:
        """Rollouts of a prompt on average; a plan for M prompts has exactly M times as many."""

    @property
    def min_rollouts(self) -> int:
        """Fewest rollouts of a prompt."""

    @property
    def plans_equally(self) -> bool:
        """Whether every prompt gets `mean_rollouts`."""

    @property
    def needs_losses(self) -> bool:
        """Whether `observe_losses` must be called after each update."""

    @property
    def needs_tokens(self) -> bool:
        """Whether `observe_tokens` must be called for each batch."""

    @property
    def sets_baselines(self) -> bool:
        """Whether feedback has baselines and deviations for the advantages."""

    @property
    def reward_range(self) -> tuple[float, float]:
        """Lowest and highest reward."""

    @property
    def reads_texts(self) -> bool:
        """Whether `describe` must be called before prompts are planned or offered."""

    def describe(self, prompt_ids: Sequence[str], texts: Sequence[str]) -> None:
        """Tell the texts of prompts."""

    def plan(self, prompt_ids: Sequence[str]) -> Plan:
        """Rollouts of each prompt of the batch."""

    def observe(self, prompt_ids: Sequence[str], rewards: Rewards) -> Feedback:
        """Answer the oldest outstanding plan of these prompts with its rewards."""

    def observe_losses(self, prompt_ids: Sequence[str], losses: ArrayLike) -> None:
        """(M,) mean unweighted surrogate loss of each prompt's rollouts (eqs. 6, 7)."""

    def observe_tokens(self, prompt_ids: Sequence[str], tokens: ArrayLike) -> None:
        """(M,) mean tokens of each prompt's rollouts, of prompts that were planned."""

    def cancel(self, plan: Plan) -> None:
        """Forget a plan that will never be answered."""

    def amend(self, plan: Plan, rollouts: ArrayLike) -> Plan:
        """Correct an outstanding plan to the (M,) rollouts that came back; prompts without any are
        left out of the plan that is returned."""

    def select(self, candidate_ids: Sequence[str], m: int) -> list[str]:
        """The m candidates to train on next, best first. Changes nothing."""

    def metrics(self) -> Metrics:
        """What the last observed step looked like."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on as if nothing had happened."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""


MEMBERS = tuple(name for name in vars(Controller) if not name.startswith("_"))


def require_controller(given: object) -> None:
    """Raise an OptionError that names what an object lacks to be a controller."""
    if isinstance(given, (str, type)):
        raise OptionError(
            f"controller={given!r} is no controller yet: make one with gdro.make_controller(...),"
            " or give the name where the engine's settings take it"
        )
    # Asked once, here, so that nothing later has to guess what an object can do.
    if missing := [name for name in MEMBERS if not hasattr(given, name)]:
        raise OptionError(
            f"{type(given).__name__} is no controller, it lacks {', '.join(missing)}; derive it"
            " from gdro.Controller (docs/extending.md)"
        )


def leaves_choice(controller: Controller) -> bool:
    """Whether the engine's own prompts are trained on, each with `mean_rollouts`, and no losses
    asked for: only then can rounds of generation take the place of a choice."""
    return controller.plans_equally and not controller.needs_losses and not controller.selects
