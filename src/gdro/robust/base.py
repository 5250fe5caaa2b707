"""The interface of all robust methods: losses in, weights out.

    weights = method(losses, groups=groups, ids=ids)      # (n,) in, (n,) of mean one out, detached
    (weights * losses).mean().backward()

Where samples differ in size (the tokens of a text) give `sizes`: losses are then means over a
sample's tokens, groups are averaged over tokens, and the weights have mean one over tokens, so that
the loss to train on is `(weights * sizes * losses).sum() / sizes.sum()`.

A step has two halves, for loops that need the weights before the losses (gradient accumulation):
`weigh` answers from the state as it is, `observe` takes the step's losses in. A call is `observe`
and then `weigh`, the order of the papers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from gdro.core.errors import StateError
from gdro.core.state import State, read_int
from gdro.core.types import Floats
from gdro.robust.batch import (
    Batch,
    GroupError,
    Labels,
    LossError,
    RobustError,
    SampleIdError,
    read_batch,
)


class RobustMethod(ABC):
    """One method; see the module for how a loop uses it.

    Every method takes every argument. With `torch.distributed` initialised, each process gives its
    own samples in the same step and gets the weights of those; means are over all processes and
    every process holds the same state.

    Args:
        groups: names of the groups, or how many there are (then they are called "0", "1", ...).
            Methods that do not need groups take them for the metrics by group.

    Attributes:
        name: as in recipes.
        needs_groups, needs_ids: whether a batch without them is an error.
        needs_losses_first: True where the weights are a function of the very losses they weigh
            (CVaR), so that `weigh` without losses is an error.
        needs_even_groups: True where the papers draw groups evenly (`EvenGroupSampler`).
    """

    name: str
    needs_groups = False
    needs_ids = False
    needs_losses_first = False
    needs_even_groups = False

    def __init__(self, groups: Sequence[str] | int | None) -> None:
        self.groups = _names(groups)
        if self.needs_groups and self.groups is None:
            raise GroupError(f"{self.name} needs groups=..., their names or how many there are")
        self.steps = 0
        self._shown: dict[str, Floats] = {}

    def __call__(
        self,
        losses: torch.Tensor,
        groups: Labels | None = None,
        ids: Labels | None = None,
        *,
        sizes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Take a step's losses in and answer its weights.

        Args:
            losses: (n,) float, one loss a sample, finite.
            groups: (n,) places in, or names of, `self.groups`.
            ids: (n,) whole numbers or names. Of an id that comes twice in a step the mean of its
                losses is remembered, and methods that need ids give both copies the same weight;
                in means by group each copy is a sample. One id in two groups is an error.
            sizes: (n,) how much each sample counts, floats or whole numbers; default 1 each.

        Returns:
            (n,) in the type and on the device of `losses`, without gradient: not negative, with
            mean one over the step's samples of all processes (weighted by size). An empty step
            answers an empty tensor, and a step in which every size is 0 answers ones; neither
            changes any state.

        Raises:
            LossError, GroupError, SampleIdError: before any state has changed.
        """
        batch = self._read(losses, groups, ids, sizes)
        if _blank(batch):
            return torch.ones_like(losses, requires_grad=False)
        self._take_in(batch)
        return self._answer(batch, losses)

    def observe(
        self,
        losses: torch.Tensor,
        groups: Labels | None = None,
        ids: Labels | None = None,
        *,
        sizes: torch.Tensor | None = None,
    ) -> None:
        """Take a step's losses in and answer nothing; arguments and errors as in a call."""
        batch = self._read(losses, groups, ids, sizes)
        if not _blank(batch):
            self._take_in(batch)

    def weigh(
        self,
        groups: Labels | None = None,
        ids: Labels | None = None,
        *,
        sizes: torch.Tensor,
    ) -> torch.Tensor:
        """(n,) weights of a step from the state as it is, before its losses are known; changes no
        state.

        Args:
            groups, ids: as in a call.
            sizes: (n,) as in a call; ones where samples count alike. The weights take their type,
                the default one where they are whole numbers.

        Raises:
            LossError: the method needs the losses themselves (`needs_losses_first`).
            GroupError, SampleIdError: as in a call.
        """
        if self.needs_losses_first:
            raise LossError(
                f"{self.name} weighs a step by that step's own losses; use weights_from='this_step'"
            )
        dtype = sizes.dtype if sizes.is_floating_point() else torch.get_default_dtype()
        nothing = torch.zeros_like(sizes, dtype=dtype)
        batch = self._read(nothing, groups, ids, sizes)
        if _blank(batch):
            return torch.ones_like(nothing)
        return self._answer(batch, nothing)

    def epoch_end(self) -> None:  # noqa: B027 - most methods have nothing to do here
        """Call once after every epoch; methods that re-weight by epoch do it here. Every process
        must call it."""

    def metrics(self) -> dict[str, float | dict[str, float]]:
        """Of the last step: `loss`, `weight` (mean) and `share` (of the mass) by group name; only
        groups that were there. Methods add their own. Empty before the first step and for steps
        without groups."""
        names = self.groups or ()
        return {
            what: {
                name: float(value)
                for name, value in zip(names, values, strict=True)
                if np.isfinite(value)
            }
            for what, values in self._shown.items()
        }

    def state_dict(self) -> State:
        """All that the next step depends on, as `gdro.save_state` writes it."""
        return {
            "method": self.name,
            "groups": list(self.groups or ()),
            "steps": self.steps,
            **self._state(),
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave, into a method made with the same arguments.

        Raises:
            StateError: the state is another method's or damaged. The method is then as it was.
        """
        if state.get("method") != self.name or state.get("groups") != list(self.groups or ()):
            raise StateError(
                f"this is a state of {state.get('method')!r} with groups"
                f" {state.get('groups')!r:.100}, not of {self.name!r} with"
                f" {list(self.groups or ())!r:.100}"
            )
        steps = read_int(state, "steps")
        self._load(state)
        self.steps, self._shown = steps, {}

    @abstractmethod
    def _observe(self, batch: Batch) -> None:
        """Take in a batch that has been checked; must not raise."""

    @abstractmethod
    def _weigh(self, batch: Batch) -> Floats:
        """(N,) weights from the state, up to a factor; not all zero where a sample has a size.
        Changes no state."""

    def _state(self) -> State:
        return {}

    def _load(self, state: State) -> None:  # noqa: B027 - a method without state
        """Restore what `_state` gave; where that raises, nothing may have changed."""

    def _read(
        self,
        losses: torch.Tensor,
        groups: Labels | None,
        ids: Labels | None,
        sizes: torch.Tensor | None,
    ) -> Batch:
        batch = read_batch(losses, groups, ids, sizes, self.groups)
        if len(batch.losses):
            if self.needs_groups and not batch.grouped:
                raise GroupError(
                    f"{self.name} needs the group of every sample: method(losses, groups=...)"
                )
            if self.needs_ids and batch.keys is None:
                raise SampleIdError(
                    f"{self.name} remembers samples by their ids: method(losses, ids=...)"
                )
        return batch

    def _take_in(self, batch: Batch) -> None:
        self._observe(batch)
        self.steps += 1
        if batch.grouped and self.groups is not None:
            mass = batch.group_sums(batch.sizes, len(self.groups))
            self._shown["share"] = np.where(mass > 0.0, mass / mass.sum(), np.nan)
            self._shown["loss"] = self._group_means(batch, batch.losses)

    def _answer(self, batch: Batch, like: torch.Tensor) -> torch.Tensor:
        raw = self._weigh(batch)
        weights = raw * (float(batch.sizes.sum()) / float(batch.sizes @ raw))
        if batch.grouped and self.groups is not None:
            self._shown["weight"] = self._group_means(batch, weights)
        return torch.from_numpy(weights[batch.own]).to(device=like.device, dtype=like.dtype)

    def _group_means(self, batch: Batch, values: Floats) -> Floats:
        """(G,) means by group, NaN for a group without samples."""
        count = len(self.groups or ())
        mass = batch.group_sums(batch.sizes, count)
        return np.asarray(
            batch.group_sums(batch.sizes * values, count) / np.where(mass > 0.0, mass, np.nan)
        )


def _blank(batch: Batch) -> bool:
    return not len(batch.losses) or float(batch.sizes.sum()) == 0.0


def _names(groups: Sequence[str] | int | None) -> tuple[str, ...] | None:
    if groups is None:
        return None
    names = tuple(str(g) for g in range(groups)) if isinstance(groups, int) else tuple(groups)
    if (
        isinstance(groups, str)
        or not names
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise RobustError(
            "groups must be how many there are (1 or more) or a list of their names, got"
            f" {groups!r:.80}"
        )
    if len(set(names)) < len(names):
        raise RobustError(f"group names must differ, got {names!r:.120}")
    return names


def group_counts(
    counts: Mapping[str, float] | Sequence[float] | None, names: Sequence[str]
) -> Floats | None:
    """(G,) sizes of the groups in the training set, by name or in order; None where they were not
    given.

    Raises:
        GroupError: one is missing, unknown or not positive.
    """
    if counts is None:
        return None
    if isinstance(counts, Mapping):
        strange = sorted(set(counts) ^ set(names))
        if strange:
            raise GroupError(
                f"counts and groups must name the same groups; only one of them has {strange[0]!r}"
            )
        counts = [counts[name] for name in names]
    values = np.asarray(counts, np.float64)
    if values.shape != (len(names),) or not (np.isfinite(values) & (values > 0.0)).all():
        raise GroupError(
            f"counts must be {len(names)} positive numbers, one a group, got {list(counts)!r:.100}"
        )
    return values
