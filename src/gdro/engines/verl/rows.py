"""From the rows verl trains on (one for each output of each session, balanced over workers) to
prompts and back.

A key reads `<uid>_<session>_<output>`: the uid is fresh every step, a session is one rollout, and
an agent loop may give several outputs in one session, of which the last carries the reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gdro.core.errors import PlanError
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
