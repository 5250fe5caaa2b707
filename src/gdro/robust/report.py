"""Scores by group in one frame; the names are fairlearn's `MetricFrame` where they mean the
same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gdro.robust.batch import GroupError, LossError


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A score (or a loss) by group.

    Attributes:
        by_group: mean by group name; only groups that have samples.
        counts: samples by group name.
        overall: mean over all samples.
        adjusted: mean over groups, each weighted by its share of the training set: what the overall
            mean would be on data mixed as in training (Sagawa et al. 2020). NaN when the shares
            were not given.
        higher_is_better: whether `worst` is the smallest (a score) or the largest (a loss).
    """

    by_group: dict[str, float]
    counts: dict[str, int]
    overall: float
    adjusted: float
    higher_is_better: bool = True

    @property
    def worst(self) -> float:
        """Mean of the worst group."""
        return self.group_min() if self.higher_is_better else self.group_max()

    @property
    def worst_group(self) -> str:
        """Name of the worst group, the first by name where several tie."""
        return min(name for name, value in self.by_group.items() if value == self.worst)

    def group_min(self) -> float:
        """Smallest mean of a group."""
        return min(self.by_group.values())

    def group_max(self) -> float:
        """Largest mean of a group."""
        return max(self.by_group.values())

    def difference(self) -> float:
        """group_max - group_min."""
        return self.group_max() - self.group_min()

    def ratio(self) -> float:
        """group_min / group_max; NaN where group_max is not positive."""
        return self.group_min() / self.group_max() if self.group_max() > 0.0 else float("nan")

    def to_dict(self) -> dict[str, object]:
        """Numbers only, for JSON."""
        return {
            "overall": self.overall,
            "worst": self.worst,
            "worst_group": self.worst_group,
            "adjusted": self.adjusted,
            "difference": self.difference(),
            "ratio": self.ratio(),
            "by_group": self.by_group,
            "counts": self.counts,
        }


def group_report(
    scores: ArrayLike,
    groups: Sequence[str],
    *,
    train_counts: Mapping[str, float] | None = None,
    sizes: ArrayLike | None = None,
    higher_is_better: bool = True,
) -> GroupReport:
    """Make the report.

    Args:
        scores: (n,) finite score of each sample (1 right and 0 wrong, or a loss).
        groups: (n,) name of each sample's group.
        train_counts: samples of each group in training, for `adjusted`; names without a sample here
            are an error.
        sizes: (n,) how much each sample counts, not negative; default 1. Samples of size 0 are left
            out.

    Raises:
        LossError: no samples, or a score or a size that is no such number.
        GroupError: lengths that differ, or a training group without a sample.
    """
    values = np.asarray(scores, np.float64)
    mass = np.ones(len(values)) if sizes is None else np.asarray(sizes, np.float64)
    sound = values.ndim == 1 and values.shape == mass.shape and np.isfinite([values, mass]).all()
    if not sound or (mass < 0.0).any() or not mass.any():
        raise LossError(
            "scores must be a flat list of one or more finite numbers, with one size each: finite,"
            " not negative and not all 0"
        )
    if len(groups) != len(values):
        raise GroupError(f"there are {len(groups)} groups for {len(values)} scores")
    kept = mass > 0.0
    values, mass, labels = values[kept], mass[kept], np.asarray(list(groups), dtype=str)[kept]
    names, place = np.unique(labels, return_inverse=True)
    means = np.bincount(place, weights=values * mass) / np.bincount(place, weights=mass)
    by_group = dict(zip(names.tolist(), means.tolist(), strict=True))
    adjusted = float("nan")
    if train_counts is not None:
        missing = sorted(set(train_counts) - set(by_group))
        if missing:
            raise GroupError(f"group {missing[0]!r} of train_counts has no sample among the scores")
        adjusted = sum(train_counts[name] * by_group[name] for name in train_counts) / sum(
            train_counts.values()
        )
    counts = dict(zip(names.tolist(), np.bincount(place).tolist(), strict=True))
    return GroupReport(
        by_group, counts, float(values @ mass / mass.sum()), adjusted, higher_is_better
    )
