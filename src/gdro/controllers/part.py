"""The five parts of a controller, as interfaces. The docstrings here are the specification.

    estimator   what is known of a prompt?          it owns the bins, the only ones there are
    selector    which prompts?
    allocator   how many rollouts?
    weigher     what weight?
    baseline    compared with what?

A part is a small dataclass. Its options are its fields. What it must remember between steps are the
entries of `self.state`, a dictionary of arrays and numbers that is saved and restored for it. Every
question is pure: asked twice it answers the same and changes nothing. Each part learns in exactly
one place, `update`, which is called once a step after all questions were answered (and in
`update_losses` and `update_tokens`, for the few that need the engine's surrogate losses, or the
tokens of its rollouts).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from gdro.controllers.option_types import check_types
from gdro.core.belief import Belief
from gdro.core.difficulty import bin_edges
from gdro.core.errors import OptionError, StateError
from gdro.core.hashing import Keys
from gdro.core.outcome import Outcome, Pending
from gdro.core.prompts import Prompts, PromptTable
from gdro.core.state import State, read_array, read_float, read_int
from gdro.core.text_posterior import TextFeatures
from gdro.core.types import Floats, Ints, Metric

BETA, SOURCE = "a Beta posterior", "what is known of sources"
"""What an estimator may give beside bins, and another part may need."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What every part is told once, before the first step.

    Attributes:
        mean_rollouts: nbar; the rollouts of every batch sum to exactly M * nbar.
        min_rollouts, max_rollouts: bounds of a prompt's rollouts.
        reward_range: (low, high) of the rewards.
        correct_threshold: a reward at or above it counts as correct.
        seed: of every random choice, which is a function of seed, step and prompt id alone.
        table: the prompts; a part that remembers something of each adds a column.
        edges: (B+1,) edges of the estimator's bins, from 0 to 1.
        texts: features of the prompts' texts, where the engine was asked to tell them.
        reads_texts: whether it was: the estimator reads them.
    """

    mean_rollouts: int
    min_rollouts: int
    max_rollouts: int
    reward_range: tuple[float, float]
    correct_threshold: float
    seed: int
    table: PromptTable
    edges: Floats = field(default_factory=lambda: np.array([0.0, 1.0]))
    texts: TextFeatures = field(default_factory=TextFeatures)
    reads_texts: bool = False

    @property
    def bins(self) -> int:
        """B."""
        return len(self.edges) - 1


@dataclass(frozen=True, slots=True)
class Batch:
    """What a selector or an allocator is asked about.

    Attributes:
        prompts: the M prompts (for a selector: the candidates).
        belief: what the estimator knows of them.
        keys: (M,) uint64, random for this step and prompt, whatever the order of the batch
            (`gdro.core.hashing`).
        weights: (B,) weights that the weigher puts on the bins; None where it puts none.
        number: how many batches were planned before.
    """

    prompts: Prompts
    belief: Belief
    keys: Keys
    weights: Floats | None
    number: int

    def __len__(self) -> int:
        return len(self.prompts)


class Allocation(NamedTuple):
    """What an allocator answers.

    Attributes:
        rollouts: (M,) whole numbers within the bounds, with sum exactly M * nbar
            (`gdro.exact_budget` makes them so).
        demand: (B,) what each bin asked for before that; None for the mean of what its prompts got.
        shadow_price: at which it asked; NaN without one.
    """

    rollouts: Ints
    demand: Floats | None = None
    shadow_price: float = math.nan


@dataclass(kw_only=True, eq=False)
class Part:
    """What the five have in common.

    Attributes:
        name: by which settings choose the part.
        facts: known from `start` on.
        state: what is saved, by name: arrays, whole numbers and numbers. `start` lays it out.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        check_types(self)
        self.state: dict[str, Any] = {}

    @property
    def needs(self) -> frozenset[str]:
        """Of BETA and SOURCE, what the estimator must give."""
        return frozenset()

    @property
    def from_run(self) -> tuple[str, ...]:
        """Options that follow from the run where they are left out (None), as
        `make_controller(run=...)` tells it."""
        return ()

    @property
    def needs_losses(self) -> bool:
        """Whether the engine must report surrogate losses after each update of the policy."""
        return False

    @property
    def needs_tokens(self) -> bool:
        """Whether the engine must report how many tokens the rollouts took."""
        return False

    def bind(self, facts: Facts) -> Self:
        """Tell the part the facts; the controller calls it, once."""
        self.facts = facts
        self.start()
        return self

    def start(self) -> None:
        """Check the options against the facts, add columns to the table, lay out `state`.

        Raises:
            OptionError: names the option that is out of range.
        """

    def update(self, outcome: Outcome, before: Belief) -> None:
        """Learn from a step: its outcome, and the belief in its prompts before it."""

    def update_losses(self, batch: Pending, losses: Floats) -> None:
        """Learn from surrogate losses (M,), which come after the update of the policy (eqs. 6 and
        7)."""

    def update_tokens(self, prompts: Prompts, tokens: Floats) -> None:
        """Learn from the (M,) mean tokens of the rollouts of planned prompts, before or after
        their step."""

    def metrics(self) -> dict[str, Metric]:
        """What the part has to report, after `update`: numbers, and lists with one value a bin."""
        return {}

    def state_dict(self) -> State:
        """`state`, copied."""
        return {
            key: value.copy() if isinstance(value, np.ndarray) else value
            for key, value in self.state.items()
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave.

        Raises:
            StateError: an entry is missing, of another shape, or not finite; names it.
        """
        if not isinstance(state, dict) or state.keys() - self.state.keys():
            raise StateError(
                f"the state of part {self.name!r} holds other entries than {sorted(self.state)}"
            )
        readers: dict[type, Callable[[State, str], Any]] = {int: read_int, float: read_float}
        self.state = {
            key: read_array(state, key, value)
            if isinstance(value, np.ndarray)
            else readers[type(value)](state, key)
            for key, value in self.state.items()
        }

    def require(self, right: bool, option: str, rule: str) -> None:
        """Raise OptionError unless an option keeps its rule."""
        if not right:
            raise OptionError(f"{option}={getattr(self, option)!r} {rule}")


@dataclass(kw_only=True, eq=False)
class Estimator(Part):
    """What is known of a prompt? It owns the bins.

    Attributes:
        bins: number of difficulty bins of equal width over [0, 1], or a list of their inner edges,
            rising inside (0, 1). Bin 0 is the hardest.
    """

    bins: int | list[float] = 10

    @property
    def gives(self) -> frozenset[str]:
        """Of BETA and SOURCE, what its beliefs hold."""
        return frozenset()

    @property
    def edges(self) -> Floats:
        """(B+1,) bin edges from 0 to 1."""
        return bin_edges(self.bins)

    @property
    def reads_texts(self) -> bool:
        """Whether `facts.texts` must know a prompt's text before it is asked of it."""
        return False

    def predict(self, prompts: Prompts, now: int) -> Belief:
        """The belief in M prompts at step `now`, before their next visit."""
        raise NotImplementedError

    def mass(self) -> Ints:
        """(B,) how many of all visited prompts each bin holds, as of their last visits."""
        raise NotImplementedError

    def after_load(self) -> None:
        """Derive what follows from the table, which was loaded; raises StateError where it does not
        fit."""


@dataclass(kw_only=True, eq=False)
class Selector(Part):
    """Which prompts?"""

    pool_factor: ClassVar[int] = 4
    """Candidates that an engine should offer per prompt selected, where the user says nothing."""
    reads_weights: ClassVar[bool] = False
    """Whether `rank` goes by `batch.weights`, which a weigher gives that acts on the selection."""

    def admit(self, prompts: Prompts) -> None:
        """Refuse a batch for which an option leaves no room; raises OptionError."""

    def rank(self, batch: Batch) -> Floats:
        """(N,) rank of each candidate, none NaN; the lowest are chosen."""
        raise NotImplementedError

    def inclusion(self, batch: Batch) -> Floats | None:
        """(M,) chance in (0, 1] with which a random design lets each prompt through; its weight is
        divided by it, so that the gradient stays unbiased. None for a design that does not
        correct."""
        return None


@dataclass(kw_only=True, eq=False)
class Allocator(Part):
    """How many rollouts?"""

    equal: ClassVar[bool] = False
    """Whether every prompt gets `mean_rollouts`."""

    def allocate(self, batch: Batch) -> Allocation:
        """The rollouts of the M prompts."""
        raise NotImplementedError


@dataclass(kw_only=True, eq=False)
class Weigher(Part):
    """What weight?"""

    def weigh(self, outcome: Outcome, before: Belief) -> Floats:
        """(M,) finite positive factors of the prompts' advantages."""
        raise NotImplementedError

    @property
    def acts_on_selection(self) -> bool:
        """Whether `selection_weights` are to be read, so that a selector that does not is
        refused."""
        return False

    def selection_weights(self) -> Floats | None:
        """(B,) weights of the bins for the choice of prompts; None where the weigher leaves that
        alone."""
        return None

    def allocation_weights(self) -> Floats | None:
        """(B,) weights that the bins' gradients are going to have; None where all are 1 or not
        known."""
        return None


@dataclass(kw_only=True, eq=False)
class Baseline(Part):
    """Compared with what?"""

    own: ClassVar[bool] = True
    """Whether it gives terms; False leaves the advantage to the engine: the group's own mean and
    spread."""

    def terms(self, outcome: Outcome, before: Belief) -> tuple[Floats, Floats] | None:
        """(M,) finite baselines and (M,) positive deviations, in units of the rewards: the
        advantage of a rollout is (reward - baseline) / deviation."""
        raise NotImplementedError
