"""The candidates of a tinker-cookbook run (`gdro.engines.candidates`): from a dataset's builders and back to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tinker_cookbook.rl.types import (  # type: ignore[import-not-found, unused-ignore]
    EnvGroupBuilder,
    RLDataset,
)

from gdro.core.errors import OptionError
from gdro.engines.candidates import CandidatePool, candidate_pool
from gdro.engines.interface import Controller

PromptId = Callable[[EnvGroupBuilder], str]


class Candidates:
    """What a controller that selects trains on, in the place of a batch of the dataset.

    Args:
        dataset: gives the same builders each time that it is asked for a batch.
        prompt_id: from a builder to its id.
        places: of each id, the batch that holds it and its place there.
        pool: of these ids.
    """

    def __init__(
        self, dataset: RLDataset, prompt_id: PromptId, places: dict[str, tuple[int, int]], pool: CandidatePool
    ) -> None:
        self.dataset, self.prompt_id, self.places, self.pool = dataset, prompt_id, places, pool

    def choose(self, builders: Sequence[EnvGroupBuilder], number: int) -> list[EnvGroupBuilder]:
        """As many builders as the batch has, chosen among it and its further candidates; see `CandidatePool.choose`.

        Raises:
            OptionError: the dataset gives other prompts than it gave before.
        """
        known = {self.prompt_id(builder): builder for builder in builders}
        strange = known.keys() - self.places.keys()
        if strange:
            raise OptionError(self._changing(min(strange)))
        chosen = self.pool.choose(list(known), number)
        wanted = {self.places[prompt][0] for prompt in chosen if prompt not in known}
        batches = {batch: self.dataset.get_batch(batch) for batch in sorted(wanted)}
        return [known[prompt] if prompt in known else self._find(prompt, batches) for prompt in chosen]

    def _find(self, prompt: str, batches: Mapping[int, Sequence[EnvGroupBuilder]]) -> EnvGroupBuilder:
        batch, place = self.places[prompt]
        builders = batches[batch]
        if place >= len(builders) or self.prompt_id(builders[place]) != prompt:
            raise OptionError(self._changing(prompt))
        return builders[place]

    def _changing(self, prompt: str) -> str:
        return (
            f"prompt {prompt!r}: the dataset {type(self.dataset).__name__} gives other prompts each time that it is "
            "asked for a batch; a controller that selects needs one that gives the same ones"
        )


def candidates_of(
    controller: Controller, dataset: RLDataset, prompt_id: PromptId, factor: int | None, seed: int
) -> Candidates | None:
    """The candidates of a run; None where the dataset's batches are trained on as they come. Reads every builder once.

    Raises:
        OptionError: as `candidate_factor`.
        PromptIdError: from `prompt_id`.
    """
    places: dict[str, tuple[int, int]] = {}

    def read_ids() -> list[str]:
        for batch in range(len(dataset)):
            for place, builder in enumerate(dataset.get_batch(batch)):
                places.setdefault(prompt_id(builder), (batch, place))
        return list(places)

    pool = candidate_pool(controller, read_ids, factor, seed)
    return None if pool is None else Candidates(dataset, prompt_id, places, pool)
