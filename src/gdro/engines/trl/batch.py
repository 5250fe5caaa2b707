"""From the rows TRL's loader gives (every prompt `num_generations` times) to a ragged plan and
back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdro.core.errors import PlanError, PromptIdError
from gdro.core.types import Floats, Ints, Plan

Row = dict[str, Any]
"""A prompt of the data set, by column."""

Inputs = dict[str, Any]
"""A micro-batch as TRL buffers it: tensors by name, most of them with R rows."""


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """The M distinct prompts of one generation batch, over all processes.

    Attributes:
        ids: (M,) prompt ids, each once.
        rows: (M,) the dataset row of each.
    """

    ids: tuple[str, ...]
    rows: tuple[Row, ...]

    def ragged(self, plan: Plan, *, even: bool = False) -> Ints:
        """(R,) the prompt of each rollout, in the order of the batch.

        Args:
            even: every prompt must have as many rollouts as every other.

        Raises:
            PlanError: an uneven plan where that may not be.
        """
        if even and np.ptp(plan.rollouts) > 0:
            raise PlanError(
                "rounds have generated equal groups, the controller plans unequal ones; use"
                " 'uniform'"
            )
        return np.repeat(np.arange(len(self.ids), dtype=np.int64), plan.rollouts)

    def scored(self, rewards_R: Floats, plan: Plan) -> list[Floats]:
        """Rewards of each prompt, without the rollouts that no reward function scored (NaN)."""
        groups = np.split(rewards_R, np.cumsum(plan.rollouts)[:-1])
        return [group[~np.isnan(group)] for group in groups]

    def means(self, values_R: Floats, plan: Plan) -> Floats:
        """(M,) mean over each prompt's rollouts."""
        starts = np.cumsum(plan.rollouts) - plan.rollouts
        return np.asarray(np.add.reduceat(values_R, starts) / plan.rollouts)


def lengths_of(completions: Sequence[list[int]], own: Sequence[list[int]] | None) -> list[int]:
    """Tokens that the model generated, of each completion.

    Not those of `completion_mask`, which `mask_truncated_completions` makes 0 for the longest.

    Args:
        own: of each token whether it is the model's own (1) or a tool's (0); None where all are.
    """
    return [len(ids) for ids in completions] if own is None else [sum(mask) for mask in own]


def blocks(rows: Sequence[Row], ids: Sequence[str], num_generations: int) -> PromptBatch:
    """The prompts of rows that come in blocks of `num_generations`.

    Args:
        ids: (R,) the prompt of each row.

    Raises:
        PromptIdError: a block holds two prompts.
    """
    for start in range(0, len(ids), num_generations):
        if len(set(ids[start : start + num_generations])) != 1:
            raise PromptIdError(
                f"rows {start} to {start + num_generations - 1} of the batch are not one prompt: "
                f"{ids[start]!r} is mixed with another; the training sampler was replaced"
            )
    return PromptBatch(tuple(ids[::num_generations]), tuple(rows[::num_generations]))
