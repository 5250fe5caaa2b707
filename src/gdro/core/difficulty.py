"""The Online Difficulty Classifier (paper section 3, eqs. 10 and 11): each prompt's success
estimate and its bin.

Statistics of one visit with c correct rollouts of n, each a number in [0, 1]:

- `any_of_n`: 1 if c > 0. The paper's; it grows with n, so a rollout adversary would confound its
  own signal.
- `pass_at_k`: the posterior mean of 1 - (1-p)^k: 1 - B(a, b+k) / B(a, b), with a = c + 1/4 and b =
  n - c + 1/4 over the pooled rollouts of the visits that count. For n < k no unbiased estimate of
  one visit exists, and a mean of stand-ins would keep the prior for ever; pooled, it washes out.
- `mean_reward`: the mean reward, rescaled to [0, 1] by the declared reward range.
- `beta`: the mean of a Beta posterior over p with prior Beta(1/4, 1/4); good after one visit, free
  of n. The prior is that of heavy-tailed data, where most prompts are nearly always or nearly never
  solved: 0 of 4 reads .06, 4 of 4 .94.

Visits are averaged over the last `window` of them, or discounted: a visit t visits ago weighs
discount^t. A discounted estimate takes 46 bytes a prompt whatever the statistic; a window of H
visits takes 30 + H / 8 (any_of_n), 30 + 4 H (mean_reward) or 30 + 8 H (beta, pass_at_k).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gdro.core.errors import OptionError, StateError
from gdro.core.prompts import PromptTable
from gdro.core.types import UNSEEN, Floats, Ints

Statistic = Literal["any_of_n", "pass_at_k", "mean_reward", "beta"]
POOLED = ("beta", "pass_at_k")
"""The statistics of the pooled rollouts of several visits; the others average a number of each
visit."""
STATISTICS: tuple[Statistic, ...] = ("any_of_n", "pass_at_k", "mean_reward", "beta")
PRIOR = 0.25


@dataclass(frozen=True, slots=True)
class Visits:
    """What one step saw of its M prompts: correct (M,), total (M,) rollouts, and the rescaled mean
    reward (M,)."""

    correct: Ints
    total: Ints
    mean_reward: Floats


def bin_edges(bins: int | list[float]) -> Floats:
    """(B+1,) edges 0 = a_0 < ... < a_B = 1.

    Args:
        bins: B bins of equal width, or a list of their inner edges.

    Raises:
        OptionError: no number of bins from 1 to 1000, and no list of rising inner edges.
    """
    asked = f"bins={bins!r} must be a number of bins from 1 to 1000, or a list of inner edges"
    if isinstance(bins, bool) or (isinstance(bins, int) and not 1 <= bins <= 1000):
        raise OptionError(asked)
    if isinstance(bins, int):
        return np.arange(bins + 1) / bins
    try:
        edges = np.array([0.0, *bins, 1.0], dtype=np.float64)
    except (TypeError, ValueError):
        raise OptionError(asked) from None
    if not (np.diff(edges) > 0).all():
        raise OptionError(
            f"bins={bins!r}: the inner edges of bins must rise strictly inside (0, 1)"
        )
    return edges


def bins_at(edges: Floats, rates: Floats) -> Ints:
    """(M,) bins of success rates in [0, 1]; a rate on an edge is in the bin above it."""
    return np.searchsorted(edges[1:-1], rates, side="right").astype(np.int64)


def bin_centres(edges: Floats) -> Floats:
    """(B,) the rate in the middle of each bin."""
    return np.asarray((edges[1:] + edges[:-1]) / 2.0)


class DifficultyClassifier:
    """Estimates and bins of all prompts, kept in the columns of a `PromptTable`.

    Bins are numbered from 0, the hardest. A prompt leaves its bin only when its estimate passes the
    edge by `hysteresis`; it moves both ways. Bins change in `record`, after a step, never within
    one.

    Raises:
        OptionError: names the option that is out of range.
    """

    def __init__(
        self,
        table: PromptTable,
        bins: int | list[float] = 10,
        statistic: Statistic = "beta",
        window: int | None = None,
        discount: float = 0.9,
        k: int = 8,
        hysteresis: float = 0.0,
    ) -> None:
        self.edges = bin_edges(bins)
        self.bins = len(self.edges) - 1
        self.statistic, self.window, self.discount, self.k = statistic, window, discount, k
        self.hysteresis = hysteresis
        self._check()
        self.table = table
        self.table.add_column("visits", np.int32, 0)
        self.table.add_column("estimate", np.float64, np.nan)
        self.table.add_column("bin", np.int16, UNSEEN)
        if window is None:
            self.table.add_column("value_sum", np.float64, 0.0)
            self.table.add_column("visit_sum", np.float64, 0.0)
        elif statistic == "any_of_n":
            self.table.add_column("history", np.uint8, 0, width=-(-window // 8))
        else:
            self.table.add_column("history", np.float32, 0.0, width=window * self._parts)
        self.mass = np.zeros(self.bins, np.int64)

    @property
    def _parts(self) -> int:
        """Numbers kept of one visit: (correct, total) where rollouts are pooled, else one value."""
        return 2 if self.statistic in POOLED else 1

    def _check(self) -> None:
        if self.statistic not in STATISTICS:
            raise OptionError(f"statistic={self.statistic!r} is none of {', '.join(STATISTICS)}")
        if self.window is not None and self.window < 1:
            raise OptionError(
                f"window={self.window} must be at least 1 visit, or None to discount instead"
            )
        if not 0.0 < self.discount <= 1.0:
            raise OptionError(f"discount={self.discount:g} must lie in (0, 1]")
        if self.k < 1:
            raise OptionError(f"k={self.k} must be at least 1")
        room = min(self.edges[1], 1.0 - self.edges[-2])
        if not 0.0 <= self.hysteresis < room:
            raise OptionError(
                f"hysteresis={self.hysteresis:g} must lie in [0, {room:g}), or the outermost bins"
                " could not be reached"
            )

    def bins_of(self, rows: Ints) -> Ints:
        """(M,) current bins; UNSEEN for a row of -1 and for a prompt without a visit."""
        return self.table.read("bin", rows).astype(np.int64)

    def visits_of(self, rows: Ints) -> Ints:
        """(M,) visits so far; 0 for a row of -1."""
        return self.table.read("visits", rows).astype(np.int64)

    def estimates_of(self, rows: Ints) -> Floats:
        """(M,) estimates; NaN for a row of -1 and for a prompt without a visit."""
        return self.table.read("estimate", rows)

    def record(self, rows: Ints, visits: Visits) -> None:
        """Take in one visit of each of M different prompts and re-bin them."""
        column = self.table.column
        values, weights = self._values(visits)
        if self.window is None:
            estimate = self._discounted(rows, values, weights)
        else:
            estimate = self._windowed(rows, values, weights)
        column("visits")[rows] += 1
        column("estimate")[rows] = estimate
        self._rebin(rows, estimate)

    def _values(self, visits: Visits) -> tuple[Floats, Floats]:
        """(M,) what a visit adds to the numerator and to the denominator of the estimate."""
        ones = np.ones(len(visits.total))
        if self.statistic in POOLED:
            return visits.correct.astype(np.float64), visits.total.astype(np.float64)
        if self.statistic == "any_of_n":
            return (visits.correct > 0).astype(np.float64), ones
        return visits.mean_reward, ones

    def _estimate(self, value_sum: Floats, weight_sum: Floats) -> Floats:
        if self.statistic == "beta":
            return (value_sum + PRIOR) / (weight_sum + 2.0 * PRIOR)
        if self.statistic == "pass_at_k":
            return posterior_pass_at_k(value_sum + PRIOR, weight_sum - value_sum + PRIOR, self.k)
        return value_sum / weight_sum

    def _discounted(self, rows: Ints, values: Floats, weights: Floats) -> Floats:
        value_sum, visit_sum = self.table.column("value_sum"), self.table.column("visit_sum")
        value_sum[rows] = self.discount * value_sum[rows] + values
        visit_sum[rows] = self.discount * visit_sum[rows] + weights
        return self._estimate(value_sum[rows], visit_sum[rows])

    def _windowed(self, rows: Ints, values: Floats, weights: Floats) -> Floats:
        assert self.window is not None
        history = self.table.column("history")
        visits = self.table.column("visits")[rows].astype(np.int64)
        kept = np.minimum(visits + 1, self.window).astype(np.float64)
        place = visits % self.window
        if self.statistic == "any_of_n":
            byte, bit = place >> 3, (place & 7).astype(np.uint8)
            cleared = history[rows, byte] & ~(np.uint8(1) << bit)
            history[rows, byte] = cleared | (values.astype(np.uint8) << bit)
            ones: Floats = np.unpackbits(history[rows], axis=1).sum(axis=1) / kept
            return ones
        if self.statistic in POOLED:
            history[rows, 2 * place], history[rows, 2 * place + 1] = values, weights
            recent = history[rows].astype(np.float64)
            return self._estimate(recent[:, 0::2].sum(axis=1), recent[:, 1::2].sum(axis=1))
        history[rows, place] = values
        recent = history[rows].astype(np.float64)
        return np.asarray(recent.sum(axis=1) / kept)

    def _rebin(self, rows: Ints, estimate: Floats) -> None:
        column: NDArray[Any] = self.table.column("bin")
        old = column[rows].astype(np.int64)
        new = move_bins(old, estimate, self.edges, self.hysteresis)
        column[rows] = new
        seen = old[old != UNSEEN]
        self.mass += np.bincount(new, minlength=self.bins) - np.bincount(seen, minlength=self.bins)

    def recount(self) -> None:
        """Take the masses from the table, after it was loaded. Raises StateError when bins do not
        fit."""
        bins, visits = self.table.column("bin"), self.table.column("visits")
        if ((bins < UNSEEN) | (bins >= self.bins) | ((bins == UNSEEN) != (visits == 0))).any():
            raise StateError(
                f"column 'bin' of this state does not fit {self.bins} bins; load an older"
                " checkpoint"
            )
        self.mass = np.bincount(bins[bins != UNSEEN], minlength=self.bins).astype(np.int64)


def move_bins(old: Ints, estimate: Floats, edges: Floats, hysteresis: float) -> Ints:
    """(M,) bins after hysteresis: up when the estimate clears the edge by the margin, down
    likewise, else as before.

    A prompt that was UNSEEN goes straight to the bin of its estimate.
    """
    up, down = bins_at(edges, estimate - hysteresis), bins_at(edges, estimate + hysteresis)
    return np.where(old == UNSEEN, bins_at(edges, estimate), np.clip(old, up, down))


def posterior_pass_at_k(a: Floats, b: Floats, k: int) -> Floats:
    """(M,) E[1 - (1-p)^k] under Beta(a, b)."""
    missed = np.ones(len(a))
    for j in range(k):
        missed *= (b + j) / (a + b + j)
    return np.asarray(1.0 - missed)
