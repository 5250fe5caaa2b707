"""Candidates: more prompts than a step trains on, for a controller that chooses among them.

The data loader gives M prompts a step. A controller that selects sees (factor - 1) M more, drawn without replacement
from the rest of the training set by seed and batch number alone: there is no state to save, every process draws the
same, and at one seed all selecting methods are offered the same prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from datasets import Dataset

from gdro.core.errors import OptionError, PlanError
from gdro.engines.interface import Controller, SelectingController, selecting
from gdro.engines.trl.batch import PromptBatch, Row


class CandidatePool:
    """Draws the candidates of a batch and lets the controller choose.

    Args:
        controller: chooses.
        dataset: the training set, with unique ids (see `ids.require_ids`).
        factor: candidates per prompt trained on; where the set holds fewer, all of it is offered.
    """

    def __init__(
        self, controller: SelectingController, dataset: Dataset, id_column: str, factor: int, seed: int
    ) -> None:
        self.controller, self.dataset, self.factor, self.seed = controller, dataset, factor, seed
        self.ids: list[str] = list(dataset[id_column])
        self.places = {prompt_id: place for place, prompt_id in enumerate(self.ids)}

    def choose(self, batch: PromptBatch, number: int) -> PromptBatch:
        """The M prompts that the controller chooses among the batch and its further candidates, best first.

        Args:
            number: of the batch in the run, from 0.

        Raises:
            PlanError: the controller answered with other prompts than it was offered, or another number of them.
        """
        offered = self.offer(batch.ids, number)
        chosen = self.controller.select(offered, len(batch.ids))
        if len(chosen) != len(batch.ids) or len(set(chosen)) != len(chosen) or not set(chosen) <= set(offered):
            raise PlanError(
                f"the controller selected {len(chosen)} prompts, {len(set(chosen) & set(offered))} of them offered; "
                f"select must answer {len(batch.ids)} distinct ones of the {len(offered)} candidates"
            )
        known = dict(zip(batch.ids, batch.rows, strict=True))
        rows = tuple(known[i] if i in known else cast(Row, self.dataset[self.places[i]]) for i in chosen)
        return PromptBatch(tuple(chosen), rows)

    def offer(self, drawn: tuple[str, ...], number: int) -> list[str]:
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
    controller: Controller, dataset: Any, id_column: str, factor: int | None, seed: int
) -> CandidatePool | None:
    """The pool of a run; None where the prompts of the data loader are trained on as they come.

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
    if factor < 2:
        raise OptionError(
            f"candidates={factor}: controller {type(controller).__name__} selects prompts and would have no choice; "
            f"give at least 2 candidates a prompt (default {controller.pool_factor})"
        )
    if not isinstance(dataset, Dataset):
        raise OptionError("a controller that selects needs a datasets.Dataset as the training set")
    return CandidatePool(controller, dataset, id_column, factor, seed)
