"""The prompts that a `data` section names, split into those trained on and those held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gdro.config.data import DataConfig, HubData, JsonlData, ParquetData, ReasoningGymData
from gdro.core.errors import DataError
from gdro.core.prompts import SEPARATOR
from gdro.data.collect import Collected, Rows, collect
from gdro.data.hub import read_hub
from gdro.data.jsonl import read_jsonl
from gdro.data.parquet import read_parquet
from gdro.data.prompts import Prompt
from gdro.data.rows import Columns
from gdro.data.split import check_disjoint, choose, split_heldout
from gdro.report.summary import DATA_COUNTS

if TYPE_CHECKING:
    from gdro.data.reasoning_gym import Cell


@dataclass(frozen=True)
class RunPrompts:
    """The prompts of a run.

    Attributes:
        train: trained on.
        heldout: evaluated on; empty if the settings hold none out.
        counts: what the load left out or found odd, by name, for the run to show where it is not 0:
            `duplicates` dropped, `contradictions` (those of them with another prompt or answer),
            `heldout_text_seen` (held-out prompts whose text is trained on under another id),
            `beyond_limit`.
    """

    train: list[Prompt]
    heldout: list[Prompt]
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """The counts that are not 0, in words."""
        return [
            f"{count:,} {DATA_COUNTS.get(what, what)}"
            for what, count in self.counts.items()
            if count
        ]


def load_prompts(data: DataConfig) -> RunPrompts:
    """All prompts of the source, checked; see docs/data.md for the rules.

    Raises:
        DataError: whatever is wrong with the data, by file and row; nothing is returned then.
    """
    loaded = _reasoning_gym(data) if isinstance(data, ReasoningGymData) else _rows(data)
    return loaded if data.source_labels else replace(loaded, train=_unlabelled(loaded.train))


def _rows(data: ParquetData | JsonlData | HubData) -> RunPrompts:
    found = collect(_files(data, heldout=False), data.duplicates)
    if _has_own_heldout(data):
        apart = collect(_files(data, heldout=True), data.duplicates)
        train, heldout = found.prompts, apart.prompts
    else:
        apart = Collected([])
        train, heldout = split_heldout(found.prompts, data.heldout_fraction)
    kept = choose(train, data.limit, "limit")
    counts = {
        "duplicates": found.duplicates + apart.duplicates,
        "contradictions": found.contradictions + apart.contradictions,
        "heldout_text_seen": check_disjoint(train, heldout),
        "beyond_limit": len(train) - len(kept),
    }
    return RunPrompts(kept, heldout, counts)


def _unlabelled(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The same prompts in the same order, by ids that name no source: a controller finds one
    source, as in a data set whose prompts all carry one name."""
    return [replace(prompt, id=_unlabelled_id(prompt.id)) for prompt in prompts]


def _unlabelled_id(prompt_id: str) -> str:
    """The id with ":" for every "/"; one that holds ":" has it escaped, as in an address, so that
    no two ids become one."""
    if ":" in prompt_id:
        prompt_id = prompt_id.replace("%", "%25").replace(":", "%3A")
    return prompt_id.replace(SEPARATOR, ":")


def training_sizes(data: DataConfig) -> dict[str, int]:
    """Training prompts of each source, when the held-out ones have other shares; empty when they
    have the same.

    Raises:
        DataError: as `load_prompts`, for the mixture.
    """
    if not isinstance(data, ReasoningGymData) or data.heldout_shares == "weights":
        return {}
    from gdro.data.reasoning_gym import SOURCE, cell_sizes

    try:
        return {
            f"{SOURCE}/{name}": size for name, size in cell_sizes(_cells(data), data.size).items()
        }
    except ValueError as error:
        raise DataError(f"data.cells: {error}") from error


def _cells(data: ReasoningGymData) -> Sequence[Cell]:
    from gdro.data.reasoning_gym import cells_from_config
    from gdro.tiny.mixture import DEFAULT_MIXTURE

    return DEFAULT_MIXTURE if data.cells is None else cells_from_config(data.cells)


def _reasoning_gym(data: ReasoningGymData) -> RunPrompts:
    from gdro.data.reasoning_gym import load_mixture

    try:
        cells = _cells(data)
        train = load_mixture(cells, data.size, data.seed, "train", data.shape)
        apart = (
            cells
            if data.heldout_shares == "weights"
            else [replace(cell, weight=1.0) for cell in cells]
        )
        heldout = (
            load_mixture(apart, data.heldout_size, data.seed, "heldout", data.shape)
            if data.heldout_size
            else []
        )
    except ValueError as error:
        raise DataError(f"data.cells: {error}") from error
    return RunPrompts(train, heldout, {"heldout_text_seen": check_disjoint(train, heldout)})


def _has_own_heldout(data: ParquetData | JsonlData | HubData) -> bool:
    return (data.heldout_split if isinstance(data, HubData) else data.heldout_path) is not None


def _files(data: ParquetData | JsonlData | HubData, *, heldout: bool) -> Iterator[tuple[str, Rows]]:
    """Each file (or split) of one side, with its rows; nothing is read before it is asked for."""
    columns = Columns(
        data.prompt_column,
        data.answer_column,
        data.id_column,
        data.source_column,
        data.metadata_columns,
    )
    shape = data.shape
    if isinstance(data, HubData):
        split = data.heldout_split if heldout and data.heldout_split is not None else data.split
        yield (
            f"{data.path}, split {split}",
            read_hub(data.path, data.name, split, columns, shape, data.source),
        )
        return
    paths: Sequence[str] = (data.heldout_path or ()) if heldout else data.path
    read = read_jsonl if isinstance(data, JsonlData) else read_parquet
    for path in paths:
        yield path, read(path, columns, shape, data.source)
