"""CVaR and GC-DRO, and the linear programme in closed form behind them and Var-DRO."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gdro.core.state import State, read_array, read_state
from gdro.core.types import Bools, Floats
from gdro.robust.base import RobustMethod, group_counts
from gdro.robust.batch import Batch, RobustError, check_unit
from gdro.robust.group_methods import Counts
from gdro.robust.samples import SampleTable


class CVaR(RobustMethod):
    """The worst share `alpha` of a step's mass gets weight 1 / alpha, the rest 0 (Rockafellar and
    Uryasev 2000; on mini-batches as in Levy et al. 2020, arXiv 2010.05893). Needs no groups, and no
    memory.

    The step's CVaR underestimates the population's when alpha times the step's samples is small;
    keep it above 4 or so.

    Args:
        alpha: share of the mass, in (0, 1]; 1 is plain training.
        groups: for the metrics alone.
    """

    name = "cvar"
    needs_losses_first = True

    def __init__(self, alpha: float = 0.2, *, groups: Sequence[str] | int | None = None) -> None:
        super().__init__(groups)
        check_unit("alpha", alpha)
        self.alpha = alpha

    def _observe(self, batch: Batch) -> None:
        pass

    def _weigh(self, batch: Batch) -> Floats:
        return waterfill(batch.losses, 0.0, 1.0 / self.alpha, batch.sizes)


class GroupConditionalDRO(RobustMethod):
    """GC-DRO (Zhou et al. 2021, arXiv 2106.07171): CVaR over groups and, inside each, over samples,
    for groups that do not line up with what a model gets wrong.

    A group's loss is an average over time of its mean under the inner weights. Both levels solve
    `max sum w l` with mean weight one and w between a floor and 1 / alpha (groups) or 1 / beta
    (samples), exactly; the release spends the mass alpha first and adds the floor on top, so that
    its weights have a mean above one. Inner weights are renewed by `epoch_end` from the last loss
    of each sample; until then, and for new samples, they are 1. The release evaluates all samples
    anew at the end of an epoch, averages these losses over epochs, and lets those of the groups
    start afresh; its floor for samples is .1 for images and the group's share for texts.

    Args:
        groups: names, or how many.
        alpha: share of the mass in the groups that count fully (the paper: .2 on CelebA, .5 on
            MNLI).
        beta: the same among the samples of a group (.1 and .2).
        floor: least weight of a group and of a sample.
        ema: weight of the newest step in a group's loss.
        counts: training samples of each group; None: what has been seen so far.
    """

    name = "gc_dro"
    needs_groups = True
    needs_ids = True

    def __init__(
        self,
        groups: Sequence[str] | int,
        *,
        alpha: float = 0.2,
        beta: float = 0.1,
        floor: float = 0.1,
        ema: float = 0.1,
        counts: Counts = None,
    ) -> None:
        super().__init__(groups)
        for name, value in (("alpha", alpha), ("beta", beta), ("ema", ema)):
            check_unit(name, value)
        check_unit("floor", floor, open_above=True)
        assert self.groups is not None
        self.alpha, self.beta, self.floor, self.ema = alpha, beta, floor, ema
        self._counts = group_counts(counts, self.groups)
        self._seen = np.zeros(len(self.groups))
        self._loss = np.full(len(self.groups), np.nan)
        self._samples = SampleTable(
            {"loss": (np.float32, 0.0), "group": (np.int32, 0), "weight": (np.float32, 1.0)}
        )

    def group_weights(self) -> Floats:
        """(G,) weights of the groups, mean one over the training set; 1 for a group without a
        sample so far."""
        met = self._met()
        weights = np.ones(len(met))
        if met.any():
            counts = self._counts if self._counts is not None else self._seen
            weights[met] = waterfill(self._loss[met], self.floor, 1.0 / self.alpha, counts[met])
        return weights

    def epoch_end(self) -> None:
        """Renew the weights of the samples inside their groups."""
        self._samples.compact()
        loss, group, weight = (self._samples[name] for name in ("loss", "group", "weight"))
        for g in np.unique(group):
            own = group == g
            weight[own] = fill_largest(loss[own], self.floor, 1.0 / self.beta)

    def _observe(self, batch: Batch) -> None:
        keys, first, place, losses = batch.by_id()
        rows = self._samples.rows(keys)
        self._samples["loss"][rows] = losses
        self._samples["group"][rows] = batch.groups[first]
        inner = self._samples["weight"][rows][place].astype(np.float64) * batch.sizes
        mass = batch.group_sums(inner, len(self._loss))
        mean = batch.group_sums(inner * batch.losses, len(self._loss)) / np.where(
            mass > 0.0, mass, np.nan
        )
        moved = np.where(self._met(), (1.0 - self.ema) * self._loss + self.ema * mean, mean)
        self._loss = np.where(np.isnan(mean), self._loss, moved)
        self._seen = self._seen + batch.group_sums(batch.sizes, len(self._seen))

    def _weigh(self, batch: Batch) -> Floats:
        rows = self._samples.find(np.zeros(0, np.uint64) if batch.keys is None else batch.keys)
        inner = np.ones(len(rows))
        inner[rows >= 0] = self._samples["weight"][rows[rows >= 0]]
        return np.asarray(self.group_weights()[batch.groups] * inner)

    def _met(self) -> Bools:
        return np.asarray(~np.isnan(self._loss))

    def _state(self) -> State:
        met = self._met()
        loss = np.where(met, self._loss, 0.0)
        return {
            "loss": loss,
            "met": met,
            "seen": self._seen.copy(),
            "samples": self._samples.state_dict(),
        }

    def _load(self, state: State) -> None:
        loss, met = read_array(state, "loss", self._loss), read_array(state, "met", self._met())
        seen = read_array(state, "seen", self._seen)
        self._samples.load_state_dict(read_state(state, "samples"))
        self._loss, self._seen = np.where(met, loss, np.nan), seen


SLACK = 1e-9
"""Relative: how far rounding may push a bound past the mean before it counts as infeasible."""


def waterfill(losses: Floats, low: ArrayLike, high: ArrayLike, sizes: Floats) -> Floats:
    """argmax_w sum_i s_i w_i l_i  subject to  sum_i s_i w_i = sum_i s_i  and  low_i <= w_i <=
    high_i.

    Greedy: everything starts at its floor and the rest of the mass goes to the largest losses
    first, each up to its ceiling. Equal losses are filled to the same fraction of their room, so
    the answer does not depend on the order.

    Args:
        losses: (N,) finite.
        low, high: (N,) or numbers, 0 <= low <= 1 <= high.
        sizes: (N,) not negative.

    Returns:
        (N,) weights whose mean, weighted by the sizes, is one.

    Raises:
        RobustError: no weights meet the bounds.
    """
    floor = np.broadcast_to(np.asarray(low, np.float64), losses.shape)
    room = np.broadcast_to(np.asarray(high, np.float64), losses.shape) - floor
    total = float(sizes.sum())
    budget = total - float(sizes @ floor)
    if (
        budget < -SLACK * total
        or budget > float(sizes @ room) + SLACK * total
        or (room < 0.0).any()
    ):
        raise RobustError(
            "no weights with mean one lie within the bounds; the floor must be <= 1 <= the ceiling"
        )
    levels, place = np.unique(-losses, return_inverse=True)
    capacity = np.bincount(place, weights=sizes * room, minlength=len(levels))
    before = np.concatenate([[0.0], np.cumsum(capacity)[:-1]])
    share = np.clip((budget - before) / np.where(capacity > 0.0, capacity, 1.0), 0.0, 1.0)
    return np.asarray(floor + share[place] * room)


def fill_largest(losses: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """`waterfill` of many samples of one size between two numbers, in 12 bytes a sample: what is
    above the loss at which the mass runs out gets `high`, what is below it `low`, what equals it
    the rest.

    Args:
        losses: (N,) finite, N >= 1.
        low, high: 0 <= low <= 1 <= high.

    Returns:
        (N,) weights of mean one.
    """
    if high == low:  # both are 1
        return np.full(len(losses), low, np.float32)
    full = len(losses) * (1.0 - low) / (high - low)
    place = len(losses) - min(int(full) + 1, len(losses))
    level = np.partition(losses, place)[place]
    above, equal = losses > level, losses == level
    share = min((full - int(above.sum())) / int(equal.sum()), 1.0)
    weights = np.full(len(losses), low, np.float32)
    weights[above] = high
    weights[equal] = low + share * (high - low)
    return weights
