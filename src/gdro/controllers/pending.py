"""Plans that wait for their rewards: the one that feedback answers, how they are cancelled, amended
and saved."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.errors import PlanError, StateError
from gdro.core.outcome import Pending
from gdro.core.prompts import Prompts, PromptTable
from gdro.core.state import ANY, State, read_array, read_float
from gdro.core.types import UNSEEN, Ints, Plan

MAX_OUTSTANDING = 64
"""Plans that may wait for their rewards at the same time."""


class Waiting:
    """Plans that wait for what answers them, the oldest first.

    Args:
        table: the prompts that were planned.

    Attributes:
        plans: as they were planned, or amended.
    """

    def __init__(self, table: PromptTable) -> None:
        self.table = table
        self.plans: list[Pending] = []

    @property
    def full(self) -> bool:
        """Whether MAX_OUTSTANDING wait."""
        return len(self.plans) >= MAX_OUTSTANDING

    def find(self, prompts: Prompts, what: str, hint: str) -> tuple[int, Ints]:
        """The oldest plan with exactly these prompts, and for each of them its place in that plan;
        raises PlanError."""
        order = np.argsort(prompts.rows)
        for place, batch in enumerate(self.plans):
            if np.array_equal(batch.prompts.rows, prompts.rows):
                return place, np.arange(len(prompts))
            if len(batch.prompts) == len(prompts):
                there = np.argsort(batch.prompts.rows)
                if np.array_equal(batch.prompts.rows[there], prompts.rows[order]):
                    places = np.empty(len(prompts), np.int64)
                    places[order] = there
                    return place, places
        if not self.plans:
            raise PlanError(f"there is no {what}; {hint}")
        oldest, given = set(self.plans[0].prompts.ids), set(prompts.ids)
        missing, strange = sorted(oldest - given), sorted(given - oldest)
        raise PlanError(
            f"these prompts are not those of any {what}; against the oldest one, "
            f"{len(missing)} are missing {missing[:3]} and {len(strange)} are unknown {strange[:3]}"
        )

    def cancel(self, plan: Plan) -> None:
        """Forget a plan; raises PlanError where it does not wait here."""
        del self.plans[self._place_of(plan)]

    def amend(self, plan: Plan, rollouts: ArrayLike) -> Plan:
        """Correct a plan to the rollouts that came back; raises PlanError as `Controller.amend`."""
        place, counts = self._place_of(plan), np.asarray(rollouts)
        possible = (
            counts.shape == plan.rollouts.shape and counts.dtype.kind in "iu" and counts.any()
        )
        fits = possible and (counts.sum() == plan.total or (counts <= plan.rollouts).all())
        if not fits or (counts < 0).any():
            raise PlanError(
                f"rollouts={counts.tolist()!r:.80} did not come back from a plan of"
                f" {len(plan.prompt_ids)} prompts; give whole numbers up to the planned ones,"
                " others of the same total, or cancel the plan"
            )
        pending, kept = self.plans[place], np.flatnonzero(counts)
        prompts = self.table.of_rows(pending.prompts.rows[kept])
        inclusion = None if pending.inclusion is None else pending.inclusion[kept]
        counts, bins = counts[kept].astype(np.int64), pending.bins[kept]
        self.plans[place] = replace(
            pending, prompts=prompts, bins=bins, rollouts=counts, inclusion=inclusion
        )
        return Plan(tuple(prompts.ids), counts.copy(), bins.copy())

    def _place_of(self, plan: Plan) -> int:
        """Which of the outstanding plans this is; raises PlanError where it is none."""
        if not isinstance(plan, Plan):
            raise PlanError(
                f"cancel and amend take the Plan that plan() gave, not a {type(plan).__name__}"
            )
        for place, pending in enumerate(self.plans):
            if pending.prompts.ids == plan.prompt_ids and np.array_equal(
                pending.rollouts, plan.rollouts
            ):
                return place
        raise PlanError(
            f"no such plan of {len(plan.prompt_ids)} prompts is outstanding; cancel a plan at most"
            " once"
        )

    def state_list(self) -> list[State]:
        """For a checkpoint."""
        return [_pack(pending) for pending in self.plans]

    def load_state_list(self, packed: list[State], bins: int) -> None:
        """What `state_list` gave, checked against the table and the number of bins; raises
        StateError."""
        self.plans = [_unpack(one, self.table, bins) for one in packed]


def _pack(pending: Pending) -> State:
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


def _unpack(packed: State, table: PromptTable, count: int) -> Pending:
    """What `_pack` gave, checked against the table and the number of bins; raises StateError."""
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
