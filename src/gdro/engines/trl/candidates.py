"""The candidates of a TRL run (`gdro.engines.candidates`): from the rows of a `datasets.Dataset` and back to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from datasets import Dataset

from gdro.core.errors import OptionError
from gdro.engines.candidates import CandidatePool, candidate_pool
from gdro.engines.interface import Controller
from gdro.engines.trl.batch import PromptBatch, Row


class Candidates:
    """What a controller that selects trains on, in the place of what the data loader gave.

    Args:
        dataset: the training set, with unique ids (see `ids.require_ids`).
        pool: of its ids.
    """

    def __init__(self, dataset: Dataset, pool: CandidatePool) -> None:
        self.dataset, self.pool = dataset, pool

    def choose(self, batch: PromptBatch, number: int) -> PromptBatch:
        """As many prompts as the batch has, chosen among it and its further candidates; see `CandidatePool.choose`."""
        chosen = self.pool.choose(batch.ids, number)
        known = dict(zip(batch.ids, batch.rows, strict=True))
        rows = tuple(known[i] if i in known else cast(Row, self.dataset[self.pool.places[i]]) for i in chosen)
        return PromptBatch(tuple(chosen), rows)


def candidates_of(
    controller: Controller, dataset: Any, id_column: str, factor: int | None, seed: int
) -> Candidates | None:
    """The candidates of a run; None where the prompts of the data loader are trained on as they come.

    Raises:
        OptionError: as `candidate_factor`, or a training set without random access.
    """

    def read_ids() -> Sequence[str]:
        if not isinstance(dataset, Dataset):
            raise OptionError("a controller that selects needs a datasets.Dataset as the training set")
        ids: Sequence[str] = dataset[id_column]
        return ids

    pool = candidate_pool(controller, read_ids, factor, seed)
    return None if pool is None else Candidates(dataset, pool)
