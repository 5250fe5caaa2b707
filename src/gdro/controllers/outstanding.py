"""Plans that wait for their rewards: the one that feedback answers, and how they are saved."""

from __future__ import annotations

import numpy as np

from gdro.core.errors import PlanError, StateError
from gdro.core.outcome import Pending
from gdro.core.state import ANY, State, read_array
from gdro.core.types import UNSEEN, Ints


def find(batches: list[Pending], ids: tuple[str, ...], what: str, hint: str) -> tuple[int, Ints]:
    """The oldest batch with exactly these ids, and for each id its place in that batch."""
    for place, batch in enumerate(batches):
        if batch.prompt_ids == ids:
            return place, np.arange(len(ids))
        if len(batch.prompt_ids) == len(ids) and set(batch.prompt_ids) == set(ids):
            index = {prompt_id: row for row, prompt_id in enumerate(batch.prompt_ids)}
            return place, np.fromiter((index[i] for i in ids), np.int64, len(ids))
    if not batches:
        raise PlanError(f"there is no {what}; {hint}")
    oldest = set(batches[0].prompt_ids)
    missing, strange = sorted(oldest - set(ids)), sorted(set(ids) - oldest)
    raise PlanError(
        f"these prompts are not those of any {what}; against the oldest one, "
        f"{len(missing)} are missing {missing[:3]} and {len(strange)} are unknown {strange[:3]}"
    )


def pack(pending: Pending) -> State:
    """A waiting plan for a checkpoint."""
    return {
        "rows": pending.rows.copy(),
        "bins": pending.bins.copy(),
        "rollouts": pending.rollouts.copy(),
        "demand": pending.demand.copy(),
    }


def unpack(packed: State, ids: list[str], count: int) -> Pending:
    """What `pack` gave, checked against the table's ids and the number of bins; raises StateError."""
    rows = read_array(packed, "rows", np.empty(0, np.int64), rows=ANY)
    if not len(rows) or len(np.unique(rows)) != len(rows) or not 0 <= rows.min() <= rows.max() < len(ids):
        raise StateError("state key 'rows': an outstanding plan names prompts that the table lacks, or one twice")
    bins, rollouts = read_array(packed, "bins", rows), read_array(packed, "rollouts", rows)
    if not UNSEEN <= bins.min() <= bins.max() < count or rollouts.min() < 1:
        raise StateError(
            "state key 'bins' or 'rollouts' of an outstanding plan is out of range; load an older checkpoint"
        )
    names = tuple(ids[row] for row in rows.tolist())
    return Pending(names, rows, bins, rollouts, read_array(packed, "demand", np.empty(count)))
