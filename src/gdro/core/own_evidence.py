"""A prompt's own rollouts, which count less with every step since: the policy moves on."""

from __future__ import annotations

import numpy as np

from gdro.core.errors import OptionError
from gdro.core.prompts import Prompts, PromptTable
from gdro.core.types import Floats, Ints


class OwnEvidence:
    """Summed rewards and rollouts of each prompt, aged; three columns of the table, 12 bytes a
    prompt.

    Args:
        table: the prompts.
        ageing: weight of a rollout relative to one a step later, in (0, 1].

    Raises:
        OptionError: ageing is out of range.
    """

    def __init__(self, table: PromptTable, ageing: float) -> None:
        if not 0.0 < ageing <= 1.0:
            raise OptionError(
                f"ageing={ageing:g} must lie in (0, 1]; it is the weight of a rollout one step"
                " later"
            )
        self.table, self.ageing = table, ageing
        for name, kind in (
            ("own_reward", np.float32),
            ("own_total", np.float32),
            ("own_step", np.int32),
        ):
            table.add_column(name, kind, 0)

    def on_top_of(
        self, prior: tuple[Floats, Floats], prompts: Prompts, now: int
    ) -> tuple[Floats, Floats]:
        """(M,) a and b of a prior with the prompts' own rollouts taken in, at step `now`."""
        a, b = prior
        known = np.flatnonzero(prompts.rows >= 0)
        reward, total = self.aged(prompts.rows[known], now)
        a[known] += reward
        b[known] += total - reward
        return a, b

    def add(self, rows: Ints, now: int, reward: Floats, total: Ints) -> None:
        """Take in a visit of each of these planned prompts: summed rewards in [0, 1], rollouts."""
        own_reward, own_total = self.aged(rows, now)
        self.table.column("own_reward")[rows] = own_reward + reward
        self.table.column("own_total")[rows] = own_total + total
        self.table.column("own_step")[rows] = now

    def aged(self, rows: Ints, now: int) -> tuple[Floats, Floats]:
        """(M,) summed rewards and rollouts of planned prompts, as they weigh at step `now`."""
        column = self.table.column
        weight = self.ageing ** np.maximum(now - column("own_step")[rows].astype(np.float64), 0.0)
        return column("own_reward")[rows] * weight, column("own_total")[rows] * weight
