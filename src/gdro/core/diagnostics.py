"""The paper's diagnostics, each a small pure function of arrays taken from a run's record.

Arrays: T steps x B bins, hardest bin first, NaN where a bin was absent. A function treats an absent
bin as carrying no prompt, and gives NaN for a step of which nothing is known. Leading axes may be
anything: the functions work on the last axis, so one step (B,) and a whole run (T, B) go through
the same code.

Equation numbers are those of arXiv 2601.19280.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.errors import OptionError
from gdro.core.types import Floats, Ints


def _array(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise OptionError(
            f"{name}: expected an array whose last axis holds at least one bin, got {array.shape}"
        )
    return array


def _pair(first: ArrayLike, second: ArrayLike, names: str) -> tuple[Floats, Floats]:
    a, b = _array(first, names), _array(second, names)
    if a.shape != b.shape:
        raise OptionError(
            f"{names}: the two arrays must have one shape, got {a.shape} and {b.shape}"
        )
    return a, b


def normalized(values: ArrayLike) -> Floats:
    """Non-negative values as a distribution over bins.

    Args:
        values: (..., B), NaN = absent = 0.

    Returns:
        (..., B), each row summing to 1; a row without mass is all NaN.
    """
    array = np.nan_to_num(_array(values, "values"), nan=0.0)
    if (array < 0).any() or np.isinf(array).any():
        raise OptionError("values: a share or weight over bins must be finite and not negative")
    peak = array.max(axis=-1, keepdims=True)
    scaled = np.divide(array, peak, out=np.full_like(array, np.nan), where=peak > 0)
    return np.asarray(scaled / scaled.sum(axis=-1, keepdims=True))


def mean_bin(share: ArrayLike) -> Floats:
    """Mean bin index sum_b b share(b): the centre of the travelling wave.

    Args:
        share: (..., B) non-negative, normalised here.

    Returns:
        (...,) in [0, B-1].
    """
    q = normalized(share)
    return np.asarray(q @ np.arange(q.shape[-1], dtype=np.float64))


def high_mass(share: ArrayLike, first: int) -> Floats:
    """Mass in the high (easy) bins first..B-1.

    Args:
        share: (..., B) non-negative, normalised here.
        first: the lowest bin that counts as high, 0 <= first <= B.

    Returns:
        (...,) in [0, 1].
    """
    q = normalized(share)
    if not 0 <= first <= q.shape[-1]:
        raise OptionError(f"first: expected a bin in 0..{q.shape[-1]}, got {first}")
    empty = np.isnan(q).any(axis=-1)
    return np.where(empty, np.nan, np.minimum(q[..., first:].sum(axis=-1), 1.0))


def entropy(share: ArrayLike) -> Floats:
    """Entropy H(q) = -sum_b q_b log q_b of a distribution over bins, in nats.

    Args:
        share: (..., B) non-negative, normalised here.

    Returns:
        (...,) in [0, log B].
    """
    q = normalized(share)
    logs = np.log(q, out=np.zeros_like(q), where=q > 0)
    return np.asarray(np.abs((q * logs).sum(axis=-1)))


def effective_bins(share: ArrayLike) -> Floats:
    """Effective number of bins exp(H(q)): 1 when one bin holds everything, B when all hold the
    same.

    Args:
        share: (..., B) non-negative, normalised here.

    Returns:
        (...,) in [1, B].
    """
    return np.exp(entropy(share))


def weighted_share(share: ArrayLike, weight: ArrayLike) -> Floats:
    """q_weight(b) = share(b) weight(b), normalised: where the gradient's weight goes.

    Args:
        share: (..., B) fraction of the prompts in each bin.
        weight: (..., B) mean weight of each bin's prompts; NaN where the bin is absent.

    Returns:
        (..., B), each row summing to 1.
    """
    q, w = _pair(share, weight, "share, weight")
    return normalized(normalized(q) * np.nan_to_num(w, nan=0.0))


def lead_lag(share: ArrayLike, weight: ArrayLike) -> Floats:
    """Lead-lag (32): sum_b b q_weight(b) - sum_b b share(b).

    Negative: the adversary stands on harder bins than the data do (it lags behind the wave);
    positive: on easier bins (it leads).

    Args:
        share: (..., B) fraction of the prompts in each bin.
        weight: (..., B) mean weight of each bin's prompts.

    Returns:
        (...,) in [-(B-1), B-1].
    """
    return mean_bin(weighted_share(share, weight)) - mean_bin(share)


def budget_share(share: ArrayLike, rollouts: ArrayLike) -> Floats:
    """Share of the rollouts that each bin spends: share(b) n_b, normalised.

    Args:
        share: (..., B) fraction of the prompts in each bin.
        rollouts: (..., B) mean rollouts of one prompt of each bin.

    Returns:
        (..., B), each row summing to 1.
    """
    return weighted_share(share, rollouts)


def weighted_standard_error(share: ArrayLike, variance: ArrayLike, rollouts: ArrayLike) -> Floats:
    """Weighted standard error (33): WSE = sum_b share_b sigma_b / sqrt(n_b).

    Args:
        share: (..., B) fraction of the prompts in each bin, normalised here; bins without prompts
            drop out.
        variance: (..., B) within-prompt reward variance sigma_b^2.
        rollouts: (..., B) or a scalar (the uniform plan): rollouts per prompt, above 0.

    Returns:
        (...,); NaN where a bin with prompts has no variance or no rollouts.
    """
    q, v = _pair(share, variance, "share, variance")
    q = normalized(q)
    n = np.broadcast_to(np.asarray(rollouts, dtype=np.float64), q.shape)
    if (v < 0).any() or (n <= 0).any():
        raise OptionError("variance must not be negative and rollouts must be above 0")
    terms = np.where(q > 0, q * np.sqrt(v / n), 0.0)
    return np.where(np.isnan(q).any(axis=-1), np.nan, terms.sum(axis=-1))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stretch of the run, averaged.

    Attributes:
        name: start, early, mid or late.
        first, last: row numbers of the stretch, both included.
        values: (B,) mean over the stretch; NaN where the bin never occurred.
    """

    name: str
    first: int
    last: int
    values: Floats


def snapshots(values: ArrayLike, span: int = 10) -> tuple[Snapshot, ...]:
    """The run at its start, early (1/4), mid (1/2) and late (its end), each the mean of up to
    `span` steps.

    Args:
        values: (T, B), NaN = absent.
        span: steps averaged in each stretch, at least 1 (fewer when T < span).

    Returns:
        Four snapshots in order of time; they overlap when T < 4 span. No steps: no snapshot.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or span < 1:
        raise OptionError(
            f"snapshots: expected a (T, B) array and span >= 1, got {array.shape} and {span}"
        )
    steps = len(array)
    if steps == 0:
        return ()
    size = min(span, steps)
    last_start = steps - size
    starts = {"start": 0, "early": last_start // 4, "mid": last_start // 2, "late": last_start}
    return tuple(
        Snapshot(name, first, first + size - 1, nan_mean(array[first : first + size]))
        for name, first in starts.items()
    )


def nan_mean(values: ArrayLike) -> Floats:
    """Mean over the first axis that leaves NaN out; NaN where nothing is left. (T, ...) ->
    (...)."""
    array = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(array)
    count = known.sum(axis=0)
    total = np.where(known, array, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def by_checkpoint(evaluations: Sequence[Mapping[str, object]], key: str) -> tuple[Ints, Floats]:
    """An evaluated quantity by checkpoint, e.g. key `pass_at_k` or `mean_at_k`.

    Args:
        evaluations: evaluation events of the record; `key` holds {"value", "low", "high"}.
        key: the quantity.

    Returns:
        steps (E,) and value, low, high (E, 3), NaN where an evaluation lacks it.
    """
    steps = np.array([int(str(event["step"])) for event in evaluations], dtype=np.int64)
    rows = [read_interval(event.get(key)) for event in evaluations]
    return steps, np.array(rows, dtype=np.float64).reshape(len(rows), 3)


def read_interval(entry: object) -> tuple[float, float, float]:
    """{"value", "low", "high"} of the record as a triple; NaN for what is missing or null."""
    if not isinstance(entry, Mapping):
        return (np.nan, np.nan, np.nan)
    numbers = [entry.get(name) for name in ("value", "low", "high")]
    value, low, high = [np.nan if number is None else float(number) for number in numbers]
    return (value, low, high)


def weakest_group(
    groups: Mapping[str, Mapping[str, object]],
) -> tuple[str, tuple[float, float, float]] | None:
    """Worst-bin or worst-group pass@1: the group whose mean@k (an unbiased pass@1) is lowest.

    Args:
        groups: name -> its entry with `mean_at_k` {"value", "low", "high"}.

    Returns:
        (name, (value, low, high)); the first name on a tie; None when no group has a value.
    """
    known = {name: read_interval(entry.get("mean_at_k")) for name, entry in groups.items()}
    known = {name: triple for name, triple in known.items() if not np.isnan(triple[0])}
    if not known:
        return None
    name = min(known, key=lambda group: known[group][0])
    return name, known[name]
