"""What a controller says of itself, the same at every step: read off its parts and the facts of the
run."""

from __future__ import annotations

from typing import Any

from gdro.controllers.part import Facts, Selector
from gdro.controllers.parts import Parts
from gdro.core.prompts import PromptTable
from gdro.core.types import Floats


class ControllerTraits:
    """What engines and reports ask before anything is planned.

    Attributes:
        name: what the controller is called in records and saved states.
        parts: the five, bound to the facts.
        facts: what was chosen for the run.
    """

    name: str
    parts: Parts
    facts: Facts

    @property
    def mean_rollouts(self) -> int:
        """nbar."""
        return self.facts.mean_rollouts

    @property
    def min_rollouts(self) -> int:
        """Fewest rollouts that a prompt may get."""
        return self.facts.mean_rollouts if self.plans_equally else self.facts.min_rollouts

    @property
    def max_rollouts(self) -> int:
        """Most rollouts that a prompt may get."""
        return self.facts.mean_rollouts if self.plans_equally else self.facts.max_rollouts

    @property
    def reward_range(self) -> tuple[float, float]:
        """(low, high) of the rewards."""
        return self.facts.reward_range

    @property
    def seed(self) -> int:
        """Of every random choice."""
        return self.facts.seed

    @property
    def bins(self) -> int:
        """B."""
        return self.facts.bins

    @property
    def edges(self) -> Floats:
        """(B+1,) bin edges from 0 to 1."""
        return self.facts.edges

    @property
    def table(self) -> PromptTable:
        """The prompts that were planned, and what the parts remember of each."""
        return self.facts.table

    @property
    def selects(self) -> bool:
        """Whether it answers `select`."""
        return self.parts.selector is not None

    @property
    def pool_factor(self) -> int:
        """Candidates that an engine should offer per prompt selected, where the user says
        nothing."""
        return (
            Selector.pool_factor if self.parts.selector is None else self.parts.selector.pool_factor
        )

    @property
    def needs_losses(self) -> bool:
        """Whether the engine must report surrogate losses through `observe_losses` after each
        update."""
        return any(part.needs_losses for part in self.parts)

    @property
    def needs_tokens(self) -> bool:
        """Whether the engine must report the tokens of rollouts through `observe_tokens`."""
        return any(part.needs_tokens for part in self.parts)

    @property
    def sets_baselines(self) -> bool:
        """Whether feedback has `baselines` and `deviations`, which an engine must then use for its
        advantages."""
        return self.parts.baseline.own

    @property
    def reads_texts(self) -> bool:
        """Whether the engine must tell the prompts' texts (`describe`)."""
        return self.parts.estimator.reads_texts

    @property
    def plans_equally(self) -> bool:
        """Whether every prompt gets `mean_rollouts`."""
        return self.parts.allocator.equal

    def options(self) -> dict[str, Any]:
        """All that was chosen, as plain values: the facts and, nested, the parts with theirs."""
        facts = self.facts
        return {
            "mean_rollouts": facts.mean_rollouts,
            "min_rollouts": facts.min_rollouts,
            "max_rollouts": facts.max_rollouts,
            "reward_range": list(facts.reward_range),
            "correct_threshold": facts.correct_threshold,
            "seed": facts.seed,
        } | self.parts.options()
