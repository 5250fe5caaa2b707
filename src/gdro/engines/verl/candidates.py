"""The candidates of a verl run (`gdro.engines.candidates`): the ids of its whole training set, and rows of it by id.

Needs neither verl nor torch: the training set is whatever verl made of `data.train_files`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gdro.core.errors import OptionError
from gdro.engines.candidates import CandidatePool, candidate_pool
from gdro.engines.interface import Controller
from gdro.engines.verl.ids import prompt_ids


class Candidates:
    """What a controller that selects trains on, in the place of what verl's data loader gave.

    Args:
        dataset: verl's training set.
        pool: of its ids.
    """

    def __init__(self, dataset: Any, pool: CandidatePool) -> None:
        self.dataset, self.pool = dataset, pool

    def choose(self, drawn: Sequence[str], step: int) -> list[Any]:
        """(M,) samples of the training set to train on in place of the M drawn ones; see `CandidatePool.choose`."""
        return [self.dataset[self.pool.places[chosen]] for chosen in self.pool.choose(drawn, step)]


def candidates_of(controller: Controller, dataset: Any, factor: int | None, seed: int) -> Candidates | None:
    """The candidates of a run; None where the prompts of the data loader are trained on as they come.

    Raises:
        OptionError: as `candidate_factor`, or a training set whose ids cannot be read without its samples.
        PromptIdError: rows without an id, or two with one id.
    """
    pool = candidate_pool(controller, lambda: _ids(dataset), factor, seed)
    return None if pool is None else Candidates(dataset, pool)


def _ids(dataset: Any) -> list[str]:
    """(N,) ids of the training set, without its samples."""
    frame: Any = getattr(dataset, "dataframe", None)
    if not {"data_source", "extra_info"} <= set(getattr(frame, "column_names", ())):
        raise OptionError(
            f"a controller that selects reads data_source and extra_info of every prompt, and {type(dataset).__name__} "
            "has no `dataframe` with these columns, as verl's RLHFDataset does: use that, or a controller that does "
            "not select, such as prompt_gdro"
        )
    columns = frame.select_columns(["data_source", "extra_info"])[:]
    return prompt_ids(columns["data_source"], columns["extra_info"], of="training set")
