"""A sampler that draws groups evenly, as group DRO's theory and its authors' code ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler

from gdro.core.hashing import step_keys
from gdro.core.types import Ints
from gdro.robust.batch import RobustError


class EvenGroupSampler(Sampler[int]):
    """Places in a data set such that, at every point of the epoch, groups have been drawn equally
    often (within one).

    Samples of a group come in a random order, each once before any comes twice; groups take turns
    in a random order. An epoch has as many draws as the data set has samples. The order is a
    function of seed and epoch alone.

    Args:
        groups: (N,) the group of each sample, names or numbers.
        seed: of the order.
        weights: draw groups by these weights in the place of evenly (DoReMi's result): by name or
            number, positive.
    """

    def __init__(
        self,
        groups: Sequence[str] | Sequence[int] | torch.Tensor,
        *,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        labels = np.asarray(groups.tolist() if isinstance(groups, torch.Tensor) else list(groups))
        if labels.ndim != 1 or not len(labels):
            raise RobustError("groups must name the group of every sample, one or more in all")
        self.names, place = np.unique(labels, return_inverse=True)
        self._members: list[Ints] = [np.flatnonzero(place == g) for g in range(len(self.names))]
        self._shares = np.full(len(self.names), 1.0 / len(self.names))
        if weights is not None:
            wanted = [str(name) for name in self.names]
            if set(weights) != set(wanted):
                strange = sorted(set(weights) ^ set(wanted))[0]
                raise RobustError(
                    "weights and groups must name the same groups; only one of them has"
                    f" {strange!r}"
                )
            self._shares = np.array([weights[name] for name in wanted], np.float64)
            if not ((self._shares > 0.0) & np.isfinite(self._shares)).all():
                raise RobustError(
                    f"weights must be positive and finite, got {dict(weights)!r:.100}"
                )
            self._shares /= self._shares.sum()
        self._count, self.seed, self.epoch = len(labels), seed, 0

    def __len__(self) -> int:
        return self._count

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; trainers call it."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        turns = self._turns()
        order = np.empty(self._count, np.int64)
        for g, members in enumerate(self._members):
            places = np.flatnonzero(turns == g)
            rounds = -(-len(places) // len(members))
            passes = [members[self._shuffled(len(members), g, r)] for r in range(rounds)]
            order[places] = np.concatenate([*passes, members[:0]])[: len(places)]
        return iter(order.tolist())

    def _turns(self) -> Ints:
        """(N,) the group of each draw: the one furthest behind its share, ties in a random
        order."""
        count, shares = self._count, self._shares
        due = [(np.arange(int(np.ceil(count * s)) + 1) + 0.5) / s for s in shares]
        when = np.concatenate(due)
        who = np.repeat(np.arange(len(shares)), [len(times) for times in due])
        ties = step_keys(np.arange(len(when), dtype=np.uint64), self.seed, 2 * self.epoch)
        return np.asarray(who[np.lexsort((ties, np.round(when, 6)))][:count])

    def _shuffled(self, count: int, group: int, round_: int) -> Ints:
        words = np.arange(count, dtype=np.uint64) + np.uint64(
            (group << 40) + (round_ << 24) % 2**40
        )
        return np.argsort(step_keys(words, self.seed, 2 * self.epoch + 1), kind="stable")
