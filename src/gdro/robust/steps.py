"""The weights of an optimiser step that a trainer cuts into several forward passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from gdro.robust.base import RobustMethod
from gdro.robust.batch import LossError, RobustError

WeightsFrom = Literal["this_step", "last_step"]


@dataclass(frozen=True, slots=True)
class Tags:
    """What is known of the samples of one forward pass before it.

    Attributes:
        groups: (n,) places in the method's groups, or None.
        ids: (n,) keys, or None.
        sizes: (n,) float, tokens that are trained on.
    """

    groups: torch.Tensor | None
    ids: torch.Tensor | None
    sizes: torch.Tensor


class StepWeights:
    """Weights such that a step in several passes is the same as in one.

    Args:
        method: the robust method.
        weights_from: `this_step`: the weights of a plain loop. They are a function of all losses of
            the step, so a step of several passes needs one more forward pass over all of it,
            without gradient. `last_step`: weights from the state before the step, which then takes
            its losses in; no pass more, and what a regret bound is about. Not for methods that
            weigh a step by its own losses.

    Raises:
        RobustError: weights_from is none of the two.
        LossError: `last_step` with a method that cannot do it.
    """

    def __init__(self, method: RobustMethod, weights_from: WeightsFrom) -> None:
        if weights_from not in ("this_step", "last_step"):
            raise RobustError(f"weights_from={weights_from!r} is none of this_step, last_step")
        if weights_from == "last_step" and method.needs_losses_first:
            raise LossError(
                f"{method.name} weighs a step by that step's own losses; use"
                " weights_from='this_step'"
            )
        self.method, self.weights_from = method, weights_from
        self._tags: list[Tags] = []
        self._weights: list[torch.Tensor] = []
        self._losses: list[torch.Tensor] = []

    def begin(self, tags: Sequence[Tags]) -> None:
        """Start a step of `len(tags)` passes."""
        self._tags, self._weights, self._losses = list(tags), [], []

    @property
    def done(self) -> bool:
        """Whether every pass of the step has been weighed."""
        return bool(self._tags) and len(self._losses) == len(self._tags)

    def next(self, losses: torch.Tensor, ahead: Callable[[], list[torch.Tensor]]) -> torch.Tensor:
        """(n,) weights of the next pass of the step.

        Args:
            losses: (n,) detached losses of this pass.
            ahead: the losses of all passes of the step, from a pass without gradient; called only
                where needed.
        """
        if not self._losses:
            self._weights = self._of_step(losses, ahead)
        weights = self._weights[len(self._losses)]
        self._losses.append(losses)
        if self.done and self.weights_from == "last_step":
            groups, ids, sizes = self._joined()
            self.method.observe(torch.cat(self._losses), groups, ids, sizes=sizes)
        return weights

    def _of_step(
        self, losses: torch.Tensor, ahead: Callable[[], list[torch.Tensor]]
    ) -> list[torch.Tensor]:
        groups, ids, sizes = self._joined()
        if self.weights_from == "last_step":
            weights = self.method.weigh(groups, ids, sizes=sizes)
        else:
            whole = losses if len(self._tags) == 1 else torch.cat(ahead())
            weights = self.method(whole, groups, ids, sizes=sizes)
        return list(torch.split(weights, [len(tags.sizes) for tags in self._tags]))

    def _joined(self) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor]:
        groups = [tags.groups for tags in self._tags if tags.groups is not None]
        ids = [tags.ids for tags in self._tags if tags.ids is not None]
        sizes = torch.cat([tags.sizes for tags in self._tags])
        return torch.cat(groups) if groups else None, torch.cat(ids) if ids else None, sizes
