"""What an estimator believes of prompts before a visit, a prompt's own evidence, and arithmetic of
Beta distributions over success rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gdro.core.errors import HookError, OptionError
from gdro.core.outcome import Outcome
from gdro.core.prompts import Prompts, PromptTable
from gdro.core.types import Floats, Ints

DECLARE_BETA = (
    "the part that reads them declares `needs: ClassVar = frozenset({BETA})` (BETA is in"
    " gdro.controllers.part), and the estimator follows"
)
"""What to do about a posterior that is missing."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What is known of M prompts.

    Attributes:
        bins: (M,) difficulty bins, 0 the hardest; UNSEEN (-1) where nothing is known.
        visits: (M,) visits so far.
        rate: (M,) the estimator's statistic, for most the expected success rate; NaN where nothing
            is known.
        a, b: (M,) the Beta posterior of the success rate; None for an estimator without one.
    """

    bins: Ints
    visits: Ints
    rate: Floats
    a: Floats | None = None
    b: Floats | None = None

    @property
    def beta(self) -> tuple[Floats, Floats]:
        """a and b. A part that asks for them says so (`needs`), so that they are there.

        Raises:
            HookError: the estimator has none.
        """
        if self.a is None or self.b is None:
            raise HookError(
                "belief.beta: this controller's estimator has no Beta posteriors, since no part"
                f" asked for them; {DECLARE_BETA}"
            )
        return self.a, self.b

    def mean_after(self, outcome: Outcome) -> Floats:
        """(M,) mean of the posterior with this visit's rewards, rescaled to [0, 1], taken in."""
        a, b = self.beta
        return np.asarray((a + outcome.unit.sum()) / (a + b + outcome.unit.counts))


def beta_square(a: Floats | float, b: Floats | float) -> Floats:
    """E[p^2] under Beta(a, b)."""
    return np.asarray(a * (a + 1.0) / ((a + b) * (a + b + 1.0)))


def expected_variance(a: Floats, b: Floats) -> Floats:
    """(M,) E[p (1-p)] under Beta(a, b): the expected variance of one binary reward."""
    return np.asarray(a * b / ((a + b) * (a + b + 1.0)))


def live_probability(a: Floats, b: Floats, rollouts: int) -> Floats:
    """(M,) probability that `rollouts` rollouts of a prompt with p ~ Beta(a, b) are neither all
    right nor all wrong: 1 - E[p^n] - E[(1-p)^n], with E[p^n] = prod_{k<n} (a + k) / (a + b + k)."""
    if rollouts > 8:  # one pass over a table is faster than many over a column
        steps = np.arange(rollouts)[:, None]
        totals = (a + b) + steps
        right, wrong = (((x + steps) / totals).prod(axis=0) for x in (a, b))
    else:
        right, wrong = np.ones(len(a)), np.ones(len(a))
        for k in range(rollouts):
            total = (a + b) + k
            right *= (a + k) / total
            wrong *= (b + k) / total
    return np.asarray(np.maximum(1.0 - right - wrong, 0.0))


def live_gains(a: Floats, b: Floats, low: int, high: int) -> Floats:
    """(M, high - low) what one rollout more adds to `live_probability`, from n = low .. high - 1 >=
    1 rollouts: E[p^n (1-p) + (1-p)^n p]. It falls with n, since p^n and (1-p)^n do, so the greedy
    choice of the largest gains maximises the expected number of live groups
    (`gdro.core.budget`)."""
    n = np.arange(low, high)
    k = np.arange(high - 1)
    ever_right, ever_wrong = (
        np.cumprod((x[:, None] + k) / ((a + b)[:, None] + k), axis=1)[:, n - 1] for x in (a, b)
    )
    total = (a + b)[:, None] + n
    return np.asarray(ever_right * b[:, None] / total + ever_wrong * a[:, None] / total)


class OwnEvidence:
    """Summed rewards and rollouts of each prompt, which count less with every step since, as the
    policy moves on; three columns of the table, 12 bytes a prompt.

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
