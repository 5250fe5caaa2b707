"""Candidates: more prompts than a step trains on, for a controller that chooses among them.

The data loader gives M prompts a step. A controller that selects sees (factor - 1) M more, drawn without replacement
from the rest of the training set by seed and batch number alone: there is no state to save, every process draws the
same, and at one seed all selecting methods are offered the same prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gdro.core.errors import OptionError, PlanError
from gdro.engines.interface import Controller, SelectingController, selecting


class CandidatePool:
    """Draws the candidates of a batch and lets the controller choose.

    Args:
        controller: chooses.
        ids: (N,) of the training set, each once, in its order.
        factor: candidates per prompt trained on; where the set holds fewer, all of it is offered.
        seed: of the further candidates.

    Attributes:
        places: where in the training set each id is.
    """

    def __init__(self, controller: SelectingController, ids: Sequence[str], factor: int, seed: int) -> None:
        self.controller, self.factor, self.seed = controller, factor, seed
        self.ids = list(ids)
        self.places = {prompt_id: place for place, prompt_id in enumerate(self.ids)}

    def choose(self, drawn: Sequence[str], number: int) -> list[str]:
        """The M prompts that the controller chooses among a batch of M and its further candidates, best first.

        Args:
            drawn: (M,) ids that the data loader gave.
            number: of the batch in the run.

        Raises:
            PlanError: the controller answered with other prompts than it was offered, or another number of them.
        """
        offered = self.offer(drawn, number)
        chosen = self.controller.select(offered, len(drawn))
        if len(chosen) != len(drawn) or len(set(chosen)) != len(chosen) or not set(chosen) <= set(offered):
            raise PlanError(
                f"the controller selected {len(chosen)} prompts, {len(set(chosen) & set(offered))} of them offered; "
                f"select must answer {len(drawn)} distinct ones of the {len(offered)} candidates"
            )
        return chosen

    def offer(self, drawn: Sequence[str], number: int) -> list[str]:
        """The ids of the candidates: the batch's own first."""
        taken = [self.places[prompt_id] for prompt_id in drawn]
        more = further_places(len(self.ids), taken, (self.factor - 1) * len(drawn), self.seed, number)
        return [*drawn, *(self.ids[place] for place in more)]


def further_places(size: int, taken: Sequence[int], count: int, seed: int, number: int) -> list[int]:
    """`count` places of a data set of that size beside those taken, or all there are, by seed and number alone."""
    free = np.ones(size, dtype=bool)
    free[list(taken)] = False
    rest = np.flatnonzero(free)
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
    more: list[int] = generator.choice(rest, size=min(count, len(rest)), replace=False, shuffle=False).tolist()
    return more


def candidate_pool(
    controller: Controller, read_ids: Callable[[], Sequence[str]], factor: int | None, seed: int
) -> CandidatePool | None:
    """The pool of a run; None where the prompts of the data loader are trained on as they come.

    Args:
        read_ids: gives the ids of the training set; asked only where the controller selects.
        factor, seed: as in `candidate_factor` and `CandidatePool`.

    Raises:
        OptionError: as `candidate_factor`.
    """
    factor = candidate_factor(controller, factor)
    if factor is None or not selecting(controller):
        return None
    return CandidatePool(controller, read_ids(), factor, seed)


def candidate_factor(controller: Controller, factor: int | None) -> int | None:
    """Candidates to offer per prompt; None where the prompts of the data loader are trained on as they come.

    Args:
        factor: what the user asked for; None for the controller's own.

    Raises:
        OptionError: candidates for a controller that does not select, or a controller that selects without any.
    """
    if not selecting(controller):
        if factor not in (None, 1):
            raise OptionError(
                f"candidates={factor}: controller {type(controller).__name__} does not select prompts; leave "
                "candidates out, or take a controller that selects (see docs/peers.md)"
            )
        return None
    factor = controller.pool_factor if factor is None else factor
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 2:
        raise OptionError(
            f"candidates={factor!r}: controller {type(controller).__name__} selects prompts and would have no choice; "
            f"give at least 2 candidates a prompt (default {controller.pool_factor})"
        )
    return factor
