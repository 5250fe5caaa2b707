"""The `data` section: which prompts a run trains on and which it holds out, one class per kind of
source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Tag

from gdro.config.base import (
    Count,
    CountOrZero,
    Fraction,
    Paths,
    PathText,
    Section,
    Seed,
    Text,
    Texts,
    one_as_tuple,
)
from gdro.data.chat import Shape

Scalar = bool | int | float | str | None


def _takes_a_prompt(template: str) -> str:
    Shape(template)
    return template


def _named(cells: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    from gdro.data.reasoning_gym import named_cells

    named_cells(cells)
    return cells


Template = Annotated[Text, AfterValidator(_takes_a_prompt)]
Cells = Annotated[tuple[dict[str, Any], ...], BeforeValidator(one_as_tuple), AfterValidator(_named)]


class _Data(Section):
    overlong: Literal["error", "drop"] = "error"
    """A prompt above max_prompt_length: stop, or drop and count it."""
    source_labels: bool = True
    """false: ids of training prompts carry no source, as where all prompts have one name; held-out
    prompts keep theirs."""
    template: Template | None = None
    """Text put round every plain-text prompt; holds {prompt} exactly once."""
    chat: bool = False
    """Send a plain-text prompt as one user message, for the model's chat template."""
    system_prompt: Text | None = None
    """A system message in front of every chat; null puts none there."""
    chat_template_kwargs: dict[str, Scalar] | None = None
    """Variables of the model's chat template, e.g. `{enable_thinking: false}`."""

    @property
    def shape(self) -> Shape:
        """How a plain-text prompt is put to the model."""
        return Shape(self.template, self.chat, self.system_prompt)


class ReasoningGymData(_Data):
    """Tasks made by reasoning-gym, from a mixture of families and levels."""

    kind: Literal["reasoning_gym"] = "reasoning_gym"
    """reasoning_gym, jsonl, parquet or hub; when not given, by the ending of data.path."""
    size: Count = 2048
    """Number of training prompts to make."""
    heldout_size: CountOrZero = 512
    """Number of held-out prompts to make, from other seeds."""
    heldout_shares: Literal["weights", "equal"] = "weights"
    """Of the held-out prompts, each cell has a share by its weight, as in training; or all the
    same."""
    seed: Seed = 0
    """Seed of the tasks; apart from the run's own seed, so that prompts stay the same."""
    cells: Cells | None = None
    """The mixture: a list of {family, level, config, weight}; null is the default."""


class _RowData(_Data):
    prompt_column: Text = "prompt"
    """Column of the prompt: text, or a list of chat messages."""
    answer_column: Text = "answer"
    """Column of the gold answer; dots enter a struct."""
    id_column: Text | None = None
    """Column of the id within its source; null takes `id` where a jsonl row has one, else a hash of
    the prompt's text."""
    source_column: Text | None = None
    """Column of the source's name; null takes `source` where a jsonl row has one, else the file's
    or data set's name."""
    source: Text | None = None
    """Name of the source, the first part of every id; null takes the row's, or the file name."""
    heldout_fraction: Fraction = 0.05
    """Share of the prompts held out, by a hash of the id; unused beside a separate source."""
    limit: Count | None = None
    """Train on at most so many prompts, chosen by a hash of the id."""
    duplicates: Literal["error", "keep_first"] = "error"
    """What to do when two rows have one id: stop, or keep the first and count the rest."""
    metadata_columns: Texts = ()
    """Further columns handed to a Python reward function with the prompt."""


class _FileData(_RowData):
    path: Paths
    """The file, or a list of files."""
    heldout_path: Paths | None = None
    """Separate held-out file or files."""


class JsonlData(_FileData):
    """Files of one JSON object a line."""

    kind: Literal["jsonl"] = "jsonl"
    """When not given, by the ending of data.path."""


class ParquetData(_FileData):
    """verl-style parquet files."""

    kind: Literal["parquet"] = "parquet"
    """When not given, by the ending of data.path."""
    answer_column: Text = "reward_model.ground_truth"
    """Column of the gold answer; dots enter a struct."""
    id_column: Text | None = "extra_info.index"
    """Column of the id within its source; null takes a hash of the prompt's text."""
    source_column: Text | None = "data_source"
    """Column of the source's name; null takes the file's."""


class HubData(_RowData):
    """A Hugging Face dataset, by hub name or local folder."""

    kind: Literal["hub"]
    """Which kind of source this is."""
    path: PathText
    """Name on the hub, or a local folder."""
    name: Text | None = None
    """The dataset's subset, e.g. `en`."""
    split: Text = "train"
    """The split to train on."""
    heldout_split: Text | None = None
    """A separate held-out split."""


DATA_KINDS = ("reasoning_gym", "jsonl", "parquet", "hub")
BY_ENDING = {".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".parquet": "parquet"}


def kind_of(data: Any) -> str | None:
    """The kind that a data section has: as given, else by the ending of its path; None where
    neither says."""
    if isinstance(data, ReasoningGymData | JsonlData | ParquetData | HubData):
        return data.kind
    if not isinstance(data, Mapping):
        return None
    kind, path = data.get("kind"), data.get("path")
    if kind is None and "path" in data:
        first = str(path[0] if isinstance(path, list | tuple) and path else path)
        return next((found for end, found in BY_ENDING.items() if first.endswith(end)), None)
    return kind if isinstance(kind, str) else None if kind else "reasoning_gym"


DataConfig = Annotated[
    Annotated[ReasoningGymData, Tag("reasoning_gym")]
    | Annotated[JsonlData, Tag("jsonl")]
    | Annotated[ParquetData, Tag("parquet")]
    | Annotated[HubData, Tag("hub")],
    Discriminator(kind_of),
]
"""Any of the four; `kind`, or the ending of the path, says which."""
