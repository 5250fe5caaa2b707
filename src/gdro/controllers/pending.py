"""Plans that wait for their rewards: the one that feedback answers, and how they are saved."""

from __future__ import annotations

import math

import numpy as np

from gdro.core.errors import PlanError, StateError
from gdro.core.outcome import Pending
from gdro.core.prompts import Prompts, PromptTable
from gdro.core.state import ANY, State, read_array, read_float
from gdro.core.types import UNSEEN, Ints


def find(batches: list[Pending], prompts: Prompts, what: str, hint: str) -> tuple[int, Ints]:
    """The oldest batch with exactly these prompts, and for each of them its place in that batch."""
    order = np.argsort(prompts.rows)
    for place, batch in enumerate(batches):
        if np.array_equal(batch.prompts.rows, prompts.rows):
            return place, np.arange(len(prompts))
        if len(batch.prompts) == len(prompts):
            there = np.argsort(batch.prompts.rows)
            if np.array_equal(batch.prompts.rows[there], prompts.rows[order]):
                places = np.empty(len(prompts), np.int64)
                places[order] = there
                return place, places
    if not batches:
        raise PlanError(f"there is no {what}; {hint}")
    oldest, given = set(batches[0].prompts.ids), set(prompts.ids)
    missing, strange = sorted(oldest - given), sorted(given - oldest)
    raise PlanError(
        f"these prompts are not those of any {what}; against the oldest one, "
        f"{len(missing)} are missing {missing[:3]} and {len(strange)} are unknown {strange[:3]}"
    )


def pack(pending: Pending) -> State:
    """A waiting plan for a checkpoint."""
    packed: State = {
        "rows": pending.prompts.rows.copy(),
        "bins": pending.bins.copy(),
        "rollouts": pending.rollouts.copy(),
        "demand": pending.demand.copy(),
    }
    if not math.isnan(pending.shadow_price):
        packed["shadow_price"] = pending.shadow_price
    if pending.inclusion is not None:
        packed["inclusion"] = pending.inclusion.copy()
    return packed


def unpack(packed: State, table: PromptTable, count: int) -> Pending:
    """What `pack` gave, checked against the table and the number of bins; raises StateError."""
    rows = read_array(packed, "rows", np.empty(0, np.int64), rows=ANY)
    if (
        not len(rows)
        or len(np.unique(rows)) != len(rows)
        or not 0 <= rows.min() <= rows.max() < len(table)
    ):
        raise StateError(
            "state key 'rows': an outstanding plan names prompts that the table lacks, or one twice"
        )
    bins, rollouts = read_array(packed, "bins", rows), read_array(packed, "rollouts", rows)
    if not UNSEEN <= bins.min() <= bins.max() < count or rollouts.min() < 1:
        raise StateError(
            "state key 'bins' or 'rollouts' of an outstanding plan is out of range; load an older"
            " checkpoint"
        )
    inclusion = (
        read_array(packed, "inclusion", np.empty(len(rows))) if "inclusion" in packed else None
    )
    demand = read_array(packed, "demand", np.empty(count))
    price = read_float(packed, "shadow_price") if "shadow_price" in packed else math.nan
    return Pending(table.of_rows(rows), bins, rollouts, demand, price, inclusion)
