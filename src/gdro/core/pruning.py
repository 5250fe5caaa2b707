"""Pruning by chance: who may be left out, and draws of fixed or free size with known chances.

Both levels of DPPO (arXiv 2603.04135) use it: prompts before they are generated
(`gdro.controllers.contrib.dppo`), rollouts before the update (`gdro.objectives.pruning`). An item
that stays with chance `keep` counts 1 / keep. How the paper sets chances and draws was not to be
had; these are ours, as is `proportional_probabilities`, sampling with probability proportional to
size.

    systematic      fixed size (to within one), chances exactly `keep`
    bernoulli       a coin for each, size varies
    deterministic   the lowest go; weighted as if by chance, and so biased; for comparison
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from gdro.core.errors import OptionError
from gdro.core.hashing import Keys, prompt_key, step_keys, to_unit, uniform
from gdro.core.types import Bools, Floats

Design = Literal["systematic", "bernoulli", "deterministic"]
DESIGNS = ("systematic", "bernoulli", "deterministic")
LARGEST_PRUNE = 0.9
"""No weight beyond 10."""
UNIT = 1 << 40
"""Chances are whole multiples of 1 / UNIT, so that systematic sampling is exact."""
_START = prompt_key("gdro/pruning/start")


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


def proportional_probabilities(score: Floats, prune: float | None = None) -> Floats:
    """(N,) chances to be kept of sampling with probability proportional to size (PPS):
    min(1, score / tau), and 0 for a score of 0.

    The noise that a draw adds to a sum of N independent terms of size `score`, each counted
    1 / keep, is sum(score^2 (1 / keep - 1)). Among all chances with the same sum these make it
    smallest (Neyman 1934; the Lagrangian gives keep ~ score, cut at 1). What is kept counts
    max(score, tau): no weight makes a term larger than that.

    Args:
        score: (N,) >= 0 and finite, |A|.
        prune: share of the items with a score above 0 that are left out on average, in [0, .9];
            None: tau = sum(score^2) / sum(score), which keeps at most the effective number of
            items sum(score)^2 / sum(score^2) (Kish 1965) and adds at most sum(score^2) of noise.

    Raises:
        OptionError: prune out of range, or a score that is negative or not finite.
    """
    if not bool((score >= 0.0).all()) or bool(np.isinf(score).any()):
        raise OptionError("a score is negative or not finite; it is an absolute advantage")
    live = score[score > 0.0]
    keep = np.zeros(len(score))
    if live.size == 0:
        return keep
    share = live / live.max()  # no square overflows or vanishes
    if prune is None:
        tau = float(np.square(share).sum() / share.sum())
    else:
        check_prune(prune)
        tau = _threshold(share, (1.0 - prune) * len(share))
    chances = np.minimum(share / tau, 1.0)
    keep[score > 0.0] = np.maximum(np.round(chances * UNIT), 1.0) / UNIT
    return keep


def _threshold(score: Floats, size: float) -> float:
    """tau for which min(1, score / tau) sums to `size` <= len(score): with the k largest taken for
    certain, the rest share size - k; the first k that lets no chance pass 1 is right."""
    falling = np.sort(score)[::-1]
    rest = np.cumsum(falling[::-1])[::-1]
    open_places = size - np.arange(len(falling))
    certain = (open_places > 0.0) & (falling * open_places <= rest * (1.0 + 1e-12))
    if not bool(certain.any()):
        return float(falling[-1])  # everything is kept
    first = int(np.argmax(certain))
    return float(rest[first] / open_places[first])


def smoothed_score(previous: Floats, newest: Floats) -> Floats:
    """(M,) running mean of mean |A| of prompts, in which the newest visit weighs one half: NaN,
    never seen, takes the newest value."""
    return np.where(np.isnan(previous), newest, previous + 0.5 * (newest - previous))


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
