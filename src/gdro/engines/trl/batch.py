"""From the rows TRL's sampler gives (every prompt `num_generations` times) to a ragged plan and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdro.core.errors import PlanError, PromptIdError, RewardError
from gdro.core.types import Floats, Ints, Plan

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """The M distinct prompts of one generation batch, over all processes.

    Attributes:
        ids: (M,) prompt ids, each once.
        rows: (M,) the dataset row of each.
    """

    ids: tuple[str, ...]
    rows: tuple[Row, ...]

    @classmethod
    def from_rows(cls, rows: Sequence[Row], id_column: str, num_generations: int) -> PromptBatch:
        """Every `num_generations`-th row is a prompt.

        Raises:
            PromptIdError: no id column, or rows that are not in blocks of one prompt.
        """
        ids = [prompt_id(row, id_column) for row in rows]
        for start in range(0, len(ids), num_generations):
            if len(set(ids[start : start + num_generations])) != 1:
                raise PromptIdError(
                    f"rows {start} to {start + num_generations - 1} of the batch are not one prompt: "
                    f"{ids[start]!r} is mixed with another; the training sampler was replaced"
                )
        return cls(tuple(ids[::num_generations]), tuple(rows[::num_generations]))

    def ragged(self, plan: Plan, total: int, *, even: bool = False) -> Ints:
        """(total,) the prompt of each rollout, in the order of the batch.

        Args:
            even: every prompt must have as many rollouts as every other.

        Raises:
            PlanError: a plan for other prompts, with another total, or uneven where that may not be.
        """
        if even and np.ptp(plan.rollouts) > 0:
            raise PlanError("rounds have generated equal groups, the controller plans unequal ones; use 'uniform'")
        if tuple(plan.prompt_ids) != self.ids:
            raise PlanError("the controller's plan names other prompts than the batch, or another order")
        if plan.total != total or int(plan.rollouts.min()) < 1:
            raise PlanError(
                f"the controller planned {plan.total} rollouts, at least {int(plan.rollouts.min())} a prompt; the "
                f"batch holds exactly {total} and every prompt needs at least 1"
            )
        return np.repeat(np.arange(len(self.ids), dtype=np.int64), plan.rollouts)

    def split(self, rewards_R: Floats, plan: Plan) -> list[Floats]:
        """Rewards of each prompt.

        Raises:
            RewardError: a rollout that no reward function scored.
        """
        unscored = np.flatnonzero(np.isnan(rewards_R))
        if unscored.size:
            prompt = self.ids[int(np.searchsorted(np.cumsum(plan.rollouts), unscored[0], side="right"))]
            raise RewardError(
                f"{unscored.size} of {rewards_R.size} completions got no reward (None or NaN from every reward "
                f"function), the first of prompt {prompt!r}; return a number for each from at least one of them"
            )
        return np.split(rewards_R, np.cumsum(plan.rollouts)[:-1])


def prompt_id(row: Row, id_column: str) -> str:
    """The id of a row, or a PromptIdError that says how to add one."""
    if id_column not in row:
        raise PromptIdError(missing_column(id_column, list(row)))
    value = row[id_column]
    if not isinstance(value, str) or not value:
        raise PromptIdError(f"column {id_column!r} holds {value!r}; a prompt id is a string that is not empty")
    return value


def missing_column(id_column: str, columns: Sequence[str]) -> str:
    """What to say when the id column is not there."""
    return (
        f"the training set has no column {id_column!r} (columns: {', '.join(columns)}); a prompt needs a stable "
        "id that survives shuffling. Name yours with GDROConfig(id_column=...), or add one with "
        "gdro.engines.trl.with_ids(dataset, 'my-source')"
    )
