"""The `data` section: which prompts a run trains on and which it holds out, one class per kind of source."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from gdro.data.chat import Shape
from gdro.data.errors import DataError
from gdro.runs.config_base import Count, CountOrZero, Fraction, Section, Seed, SettingError, Text, Texts

Scalar = bool | int | float | str | None
Cells = Annotated[tuple[dict[str, Any], ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]


class _Data(Section):
    """What every source shares."""

    overlong: Literal["error", "drop"] = Field(
        default="error",
        description="A prompt above generation.max_prompt_tokens: stop, or drop and count it.",
    )
    template: Text | None = Field(
        default=None, description="Text put round every plain-text prompt; holds {prompt} exactly once."
    )
    chat: bool = Field(
        default=False,
        description="Send a plain-text prompt as one user message, for the model's chat template.",
    )
    system_prompt: Text | None = Field(
        default=None, description="A system message in front of every chat; null puts none there."
    )
    chat_template_kwargs: dict[str, Scalar] | None = Field(
        default=None,
        description="Variables of the model's chat template, e.g. `{enable_thinking: false}`.",
    )

    @property
    def shape(self) -> Shape:
        """How a plain-text prompt is put to the model."""
        return Shape(self.template, self.chat, self.system_prompt)

    @model_validator(mode="after")
    def _shape_is_whole(self) -> _Data:
        try:
            self.shape  # noqa: B018
        except DataError as error:
            raise SettingError("data.template", str(error)) from error
        return self


class ReasoningGymData(_Data):
    """Tasks made by reasoning-gym, from a mixture of families and levels."""

    kind: Literal["reasoning_gym"] = Field(default="reasoning_gym", description="Which kind of source this is.")
    size: Count = Field(default=2048, description="Number of training prompts to make.")
    heldout_size: CountOrZero = Field(default=512, description="Number of held-out prompts to make, from other seeds.")
    heldout_shares: Literal["weights", "equal"] = Field(
        default="weights",
        description="Of the held-out prompts, each cell has a share by its weight, as in training; or all the same.",
    )
    seed: Seed = Field(
        default=0,
        description="Seed of the tasks; apart from the run's own seed, so that prompts stay the same.",
    )
    cells: Cells | None = Field(
        default=None,
        description="The mixture: a list of {family, level, config, weight}; null is the default.",
    )

    @model_validator(mode="after")
    def _cells_are_named(self) -> ReasoningGymData:
        from gdro.data.reasoning_gym import named_cells

        try:
            named_cells(self.cells or ())
        except ValueError as error:
            raise SettingError("data.cells", str(error)) from error
        return self


class _RowData(_Data):
    """What every source of ready-made rows shares."""

    heldout_fraction: Fraction = Field(
        default=0.05,
        description="Share of the prompts held out, by a hash of the id; unused beside a separate source.",
    )
    limit: Count | None = Field(
        default=None, description="Train on at most so many prompts, chosen by a hash of the id."
    )
    source: Text | None = Field(
        default=None,
        description="Name of the source, the first part of every id; null takes the row's, or the file name.",
    )
    duplicates: Literal["error", "keep_first"] = Field(
        default="error",
        description="What to do when two rows have one id: stop, or keep the first and count the rest.",
    )
    metadata_columns: Texts = Field(
        default=(), description="Further columns handed to a Python reward function with the prompt."
    )


class ParquetData(_RowData):
    """verl-style parquet files."""

    kind: Literal["parquet"] = Field(description="Which kind of source this is.")
    path: Texts = Field(description="The file, or a list of files.")
    heldout_path: Texts | None = Field(default=None, description="Separate held-out file or files.")
    prompt_column: Text = Field(default="prompt", description="Column of the prompt: text, or a list of chat messages.")
    answer_column: Text = Field(
        default="reward_model.ground_truth", description="Column of the gold answer; dots enter a struct."
    )
    id_column: Text | None = Field(
        default="extra_info.index",
        description="Column of the id within its source; null derives the id from the prompt's text.",
    )
    source_column: Text | None = Field(default="data_source", description="Column of the source's name.")


class JsonlData(_RowData):
    """Files of one JSON object a line."""

    kind: Literal["jsonl"] = Field(description="Which kind of source this is.")
    path: Texts = Field(description="The file, or a list of files.")
    heldout_path: Texts | None = Field(default=None, description="Separate held-out file or files.")
    prompt_column: Text = Field(default="prompt", description="Key of the prompt: text, or a list of chat messages.")
    answer_column: Text = Field(default="answer", description="Key of the gold answer; dots enter an object.")
    id_column: Text | None = Field(
        default=None,
        description="Key of the id, required in every row; null takes `id` where there is one, else a hash.",
    )
    source_column: Text | None = Field(
        default=None,
        description="Key of the source's name, required in every row; null takes `source` if there is one.",
    )


class HubData(_RowData):
    """A Hugging Face dataset, by hub name or local folder."""

    kind: Literal["hub"] = Field(description="Which kind of source this is.")
    path: Text = Field(description="Name on the hub, or a local folder.")
    name: Text | None = Field(default=None, description="The dataset's subset, e.g. `en`.")
    split: Text = Field(default="train", description="The split to train on.")
    heldout_split: Text | None = Field(default=None, description="A separate held-out split.")
    prompt_column: Text = Field(default="prompt", description="Column of the prompt: text, or a list of chat messages.")
    answer_column: Text = Field(default="answer", description="Column of the gold answer; dots enter a struct.")
    id_column: Text | None = Field(
        default=None,
        description="Column of the id within its source; null derives the id from the prompt's text.",
    )
    source_column: Text | None = Field(
        default=None, description="Column of the source's name; null takes the last part of data.path."
    )


DataConfig = Annotated[ReasoningGymData | ParquetData | JsonlData | HubData, Field(discriminator="kind")]
"""Any of the four; `kind` says which."""

DATA_KINDS: dict[str, type[Section]] = {
    "reasoning_gym": ReasoningGymData,
    "parquet": ParquetData,
    "jsonl": JsonlData,
    "hub": HubData,
}
