"""From the rows verl trains on (one for each output of each session, balanced over workers) to
prompts and back.

A key reads `<uid>_<session>_<output>`: the uid is fresh every step, a session is one rollout, and
an agent loop may give several outputs in one session, of which the last carries the reward.

A prompt's stable id is its data source and the `index` in its `extra_info`, as in verl's own data
preparation; verl's uids last a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from gdro.core.errors import PlanError, PromptIdError
from gdro.core.types import Floats, Ints

PADDING = -1
"""The prompt of a row that verl added to fill up a batch."""


@dataclass(frozen=True, slots=True)
class Rows:
    """R rows of a batch of M prompts.

    Attributes:
        prompts_R: (R,) place of each row's prompt, PADDING for verl's own rows.
        finals: (M,) for each prompt the row of each of its sessions' last output, in the order of
            the sessions.
        final_R: (R,) the row of the last output of each row's session; a padding row's own.
    """

    prompts_R: Ints
    finals: tuple[tuple[int, ...], ...]
    final_R: Ints

    @property
    def counts(self) -> Ints:
        """(M,) sessions of each prompt."""
        return np.array([len(rows) for rows in self.finals], np.int64)

    @property
    def real(self) -> int:
        """Rows that are not padding."""
        return int((self.prompts_R != PADDING).sum())

    def rewards(self, scores_R: Floats) -> list[Floats]:
        """Of each prompt, the score of each of its sessions."""
        return [scores_R[list(rows)] for rows in self.finals]

    def mean_tokens(self, tokens_R: Floats) -> Floats:
        """(M,) mean tokens of a session of each prompt, over all its outputs; 0 without one."""
        real = self.prompts_R != PADDING
        count = len(self.finals)
        sums = np.bincount(self.prompts_R[real], weights=tokens_R[real], minlength=count)
        return np.asarray(sums / np.maximum(self.counts, 1))

    def spread(self, values_M: Floats, padding: float) -> Floats:
        """(R,) each row's prompt's value; `padding` for padding rows."""
        return np.where(self.prompts_R == PADDING, padding, values_M[self.prompts_R])


def read_rows(keys: Sequence[str], is_padding: Sequence[bool], uids: Mapping[str, int]) -> Rows:
    """Sort the rows of a batch by prompt.

    Args:
        keys: (R,) keys of the rows, in any order.
        is_padding: (R,) rows that verl added.
        uids: place of each planned prompt, by the uid of this step.

    Raises:
        PlanError: a row of a prompt that was not planned.
    """
    prompts_R, final_R = np.full(len(keys), PADDING, np.int64), np.arange(len(keys))
    sessions_R = [0] * len(keys)
    last: list[dict[int, tuple[int, int]]] = [{} for _ in uids]
    for row, (key, padding) in enumerate(zip(keys, is_padding, strict=True)):
        if padding:
            continue
        uid, session, output = _parse(key)
        if uid not in uids:
            raise PlanError(
                f"the batch holds rollouts of uid {uid}, which no plan names; verl's replay buffer"
                " gave other prompts than were sent out (sync mode only; no custom sampler, no"
                " refill)"
            )
        place = uids[uid]
        prompts_R[row], sessions_R[row] = place, session
        last[place][session] = max(last[place].get(session, (-1, -1)), (output, row))
    for row in np.flatnonzero(prompts_R != PADDING).tolist():
        final_R[row] = last[prompts_R[row]][sessions_R[row]][1]
    finals = tuple(tuple(sessions[session][1] for session in sorted(sessions)) for sessions in last)
    return Rows(prompts_R, finals, final_R)


def _parse(key: str) -> tuple[str, int, int]:
    parts = key.rsplit("_", 2)
    if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        raise PlanError(
            f"row key {key!r} is not <uid>_<session>_<output>; this verl writes keys of another"
            " form"
        )
    return parts[0], int(parts[1]), int(parts[2])


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
