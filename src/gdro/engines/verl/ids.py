"""A prompt's stable id: its data source and the `index` in its `extra_info`, as in verl's own data
preparation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from gdro.core.errors import PromptIdError

HOW = (
    "write it when you prepare the parquet file, as verl's examples do: "
    'extra_info = {"index": <the row\'s number or name, unique within its data_source>, ...}'
)


def prompt_id(data_source: Any, extra_info: Any, place: int, of: str = "batch") -> str:
    """`<data_source>/<index>`.

    Args:
        data_source: column `data_source` of the row.
        extra_info: column `extra_info` of the row.
        place: the row's place, for the message.
        of: what the row is of, for the message.

    Raises:
        PromptIdError: no index (verl would take 0 for every row), or one that is no whole number or
            name.
    """
    if not isinstance(data_source, str) or not data_source:
        raise PromptIdError(
            f"row {place} of the {of} has data_source={data_source!r}; it must be a name"
        )
    if not isinstance(extra_info, Mapping) or extra_info.get("index") is None:
        raise PromptIdError(
            f"row {place} of the {of} ({data_source}) has no extra_info.index; {HOW}"
        )
    index = extra_info["index"]
    named = isinstance(index, str) and index != ""
    numbered = not isinstance(index, bool) and isinstance(index, Real) and index == index // 1
    if not (named or numbered):
        raise PromptIdError(
            f"row {place} of the {of} ({data_source}) has extra_info.index={index!r}; {HOW}"
        )
    return f"{data_source}/{index if isinstance(index, str) else int(index)}"


def prompt_ids(
    data_sources: Sequence[Any], extra_infos: Sequence[Any], of: str = "batch"
) -> list[str]:
    """(M,) ids of the rows of a batch or of a whole training set.

    Raises:
        PromptIdError: as `prompt_id`, or two rows with one id.
    """
    rows = enumerate(zip(data_sources, extra_infos, strict=True))
    ids = [prompt_id(source, info, place, of) for place, (source, info) in rows]
    first: dict[str, int] = {}
    for place, name in enumerate(ids):
        if name in first:
            raise PromptIdError(
                f"rows {first[name]} and {place} of the {of} are both prompt {name!r}; {HOW}"
            )
        first[name] = place
    return ids
