"""Pruning by chance with the right weights, after DPPO (arXiv 2603.04135), and CPPO beside it.

Rollouts of small |A| add little to the gradient. DPPO leaves some of them out and multiplies those
that stay by 1 / (1 - P), P the chance of being left out: the mean gradient is that of all rollouts
(without KL term and clipping) [P]. The same for whole prompts, before they are generated, by the
mean |A| of their past visits; both weights multiply [P].

How P and the draw are made was not to be had from the paper; ours [M]: P = `prune` below the mean
score and 0 else, a prompt never seen is not pruned, and nothing is pruned in the last eighth of a
run, as in InfoBatch [C]. Designs of the draw:

- `systematic`: fixed size (to within one), inclusion probabilities exactly 1 - P;
- `bernoulli`: a coin for each, size varies;
- `deterministic`: the lowest go, the rest is weighted as if by chance. Biased; for comparison.

A rollout with A = 0 has no gradient: leaving it out is exact, needs no weight, and is always done.
CPPO keeps each prompt's rollouts of largest |A| without a correction [C]. Biased, as published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gdro.core.errors import OptionError
from gdro.core.hashing import Keys, prompt_key, step_keys, to_unit, uniform
from gdro.core.types import Bools, Floats
from gdro.objectives.rules import Rollouts, RowRule, Ruled

Design = Literal["systematic", "bernoulli", "deterministic"]
DESIGNS = ("systematic", "bernoulli", "deterministic")
LARGEST_PRUNE = 0.9
"""No weight beyond 10."""
UNIT = 1 << 40
"""Chances are whole multiples of 1 / UNIT, so that systematic sampling is exact."""
_START = prompt_key("gdro/pruning/start")


@dataclass(frozen=True, slots=True)
class DPPO(RowRule):
    """Prune rollouts of small absolute advantage before the update, at random and without bias.

    Attributes:
        prune: P of a live rollout whose |A| is below the mean |A| of the live ones, in [0, .9].
        design: how they are drawn (module docstring).
        unpruned_share: last share of the run in which nothing is pruned, in [0, 1].

    Raises:
        OptionError: a value out of range.
    """

    prune: float = 0.5
    design: Design = "systematic"
    unpruned_share: float = 0.125

    def __post_init__(self) -> None:
        check_prune(self.prune)
        if self.design not in DESIGNS:
            raise OptionError(f"design={self.design!r}: choose one of {', '.join(DESIGNS)}")
        if not 0.0 <= self.unpruned_share <= 1.0:
            raise OptionError(f"unpruned_share={self.unpruned_share!r}: it must lie in [0, 1]")

    def weigh(self, advantages: Floats, rollouts: Rollouts) -> Ruled:
        """Advantages of the kept rollouts times 1 / (1 - P), and 0 for the others."""
        size = np.abs(advantages)
        live = size > 0.0
        keep = np.ones(len(size))
        if rollouts.progress < 1.0 - self.unpruned_share:
            keep[live] = keep_probabilities(size[live], self.prune)
        kept = draw(
            keep, rollouts.keys("gdro/dppo"), rollouts.seed, rollouts.step, self.design, size
        )
        kept &= live
        pruned = np.where(kept, advantages / keep, 0.0)
        return Ruled(pruned, _metrics(advantages, pruned))


@dataclass(frozen=True, slots=True)
class CPPO(RowRule):
    """Keep each prompt's rollouts of largest absolute advantage, uncorrected.

    Attributes:
        prune: share of each prompt's rollouts to leave out, rounded down, in [0, .9].

    Raises:
        OptionError: a value out of range.
    """

    prune: float = 0.5

    def __post_init__(self) -> None:
        check_prune(self.prune)

    def weigh(self, advantages: Floats, rollouts: Rollouts) -> Ruled:
        """Advantages of the kept rollouts, and 0 for the others; ties fall by chance."""
        keys = step_keys(rollouts.keys("gdro/cppo"), rollouts.seed, rollouts.step)
        order = np.lexsort((keys, -np.abs(advantages), rollouts.groups))
        sizes = np.bincount(rollouts.groups, minlength=len(rollouts.prompt_ids))
        starts = np.cumsum(sizes) - sizes
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - starts[rollouts.groups[order]]
        stays = sizes - np.floor(self.prune * sizes + 1e-9).astype(np.int64)
        pruned = np.where(rank < stays[rollouts.groups], advantages, 0.0)
        return Ruled(pruned, _metrics(advantages, pruned))


def keep_probabilities(score: Floats, prune: float) -> Floats:
    """(N,) chance 1 - P to be kept: 1 - prune below the mean score, else 1.

    Args:
        score: (N,) >= 0, mean |A| or |A|; NaN for an item never seen, which is never pruned.
        prune: P in [0, .9].

    Raises:
        OptionError: prune out of range, or a score that is negative or infinite.
    """
    check_prune(prune)
    seen = ~np.isnan(score)
    if bool((score[seen] < 0.0).any()) or bool(np.isinf(score).any()):
        raise OptionError("a score is negative or infinite; it is a mean absolute advantage")
    keep = np.ones(len(score))
    if bool(seen.any()):
        below = score[seen] < score[seen].mean() * (1.0 - 1e-12)  # equal scores are not below
        keep[np.flatnonzero(seen)[below]] = 1.0 - prune
    return np.round(keep * UNIT) / UNIT


def fixed_size_probabilities(score: Floats, prune: float, size: int) -> Floats:
    """(N,) inclusion probabilities that sum to `size`, for a selector that must fill a batch.

    min(1, c k_i) with k_i from `keep_probabilities` and the one c that meets the size. To estimate
    the mean over the N candidates, prompt i has weight size / (N pi_i), which has mean 1.

    Raises:
        OptionError: size is not in 1..N, or as `keep_probabilities`.
    """
    if not 1 <= size <= len(score):
        raise OptionError(f"size={size}: it must lie in 1..{len(score)}, the candidates")
    keep = keep_probabilities(score, prune)
    sure = np.zeros(len(keep), dtype=np.bool_)
    while True:  # an item that reaches 1 stays there, and the others share what is left
        left = size - int(sure.sum())
        rest = keep[~sure]
        scaled = np.where(sure, 1.0, keep * (left / rest.sum() if rest.size else 0.0))
        over = ~sure & (scaled >= 1.0)
        if not bool(over.any()):
            return scaled
        sure |= over


def smoothed_score(previous: Floats, newest: Floats, share: float = 0.5) -> Floats:
    """(M,) running mean of mean |A| of prompts: NaN, never seen, takes the newest value.

    Args:
        share: weight of the newest visit.
    """
    return np.where(np.isnan(previous), newest, previous + share * (newest - previous))


def draw(
    keep: Floats,
    keys: Keys,
    seed: int,
    step: int,
    design: Design = "systematic",
    score: Floats | None = None,
) -> Bools:
    """(N,) which items stay, each with its chance `keep` (but for `deterministic`).

    A function of seed, step and each item's own key: the order of the items changes nothing.

    Args:
        keep: (N,) chances in (0, 1].
        keys: (N,) 64 bits that stand for each item.
        score: (N,) for `deterministic`: of the items with keep < 1, the lowest go.

    Raises:
        OptionError: a chance out of range, or `deterministic` without scores.
    """
    if not bool(((keep > 0.0) & (keep <= 1.0)).all()):
        raise OptionError("a chance to be kept lies outside (0, 1]")
    at_risk = np.flatnonzero(keep < 1.0)
    fresh = step_keys(keys[at_risk], seed, step)
    stays = np.ones(len(keep), dtype=np.bool_)
    if design == "bernoulli":
        stays[at_risk] = to_unit(fresh) < keep[at_risk]
    elif design == "systematic":
        stays[at_risk] = _systematic(keep[at_risk], fresh, uniform(seed, step, _START))
    else:
        if score is None:
            raise OptionError("design='deterministic' needs the scores")
        goes = int(np.floor((1.0 - keep[at_risk]).sum() + 1e-9))
        stays[at_risk[np.lexsort((fresh, score[at_risk]))[:goes]]] = False
    return stays


def _systematic(keep: Floats, keys: Keys, start: float) -> Bools:
    """Every whole number above `start` in the running sum, items in the order of their keys, picks
    one item. In whole units, so that the number picked is exact."""
    order = np.argsort(keys, kind="stable")
    units = np.round(keep[order] * UNIT).astype(np.int64)
    odd = int(units.sum()) - round(int(units.sum()) / UNIT) * UNIT
    if abs(odd) <= len(units):  # the sum is a whole number but for rounding: then let it be one
        units[: abs(odd)] -= np.sign(odd)
    above = np.cumsum(units) - int(start * UNIT)
    picked = above // UNIT > (above - units) // UNIT
    stays = np.empty(len(keep), dtype=np.bool_)
    stays[order] = picked
    return stays


def check_prune(prune: float) -> None:
    """Raises OptionError unless a share to prune lies in [0, .9]."""
    if not 0.0 <= prune <= LARGEST_PRUNE:
        raise OptionError(f"prune={prune!r}: it must lie in [0, {LARGEST_PRUNE}]")


def _metrics(before: Floats, after: Floats) -> dict[str, float]:
    live, rows = before != 0.0, max(len(before), 1)
    return {
        "rollouts_without_advantage": float((~live).sum()) / rows,
        "rollouts_pruned": float((live & (after == 0.0)).sum()) / rows,
        "rollouts_trained": float((after != 0.0).sum()) / rows,
    }
