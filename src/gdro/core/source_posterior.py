"""Each prompt's success probability as a Beta posterior with its source as the prior, for prompts seen once or twice.

A prompt's source is its id up to the last separator: `dapo_math/17` comes from `dapo_math`. Prompts of a source share a
Beta(m K, (1 - m) K) prior, known by its first two moments E[p] = m and E[p^2]; a prompt's own rollouts come on top and
age, since the policy moves on while the prompt is not visited:

    a = m K + sum of r * ageing^(steps since)        b = (1 - m) K + sum of (1 - r) * ageing^(steps since)

with rewards r rescaled to [0, 1]; p is a prompt's expected r. Moments are learned from prediction errors. A visit of n
rollouts has unbiased estimates, the mean r of p and the mean of r_j r_k over its pairs of p^2; their mean error against
the posterior's own E[p] and E[p^2] moves the source's moments. While the posterior is right these errors have mean zero
for every prompt, WHICHEVER prompts are chosen, so a method that visits some prompts more often does not bend the prior
(a plain mean over visits would); when the policy learns, all prompts of the source rise with the visited ones.

K comes out small for a source of prompts that differ (0 or 1: K near 1/2) and large for one of like prompts. The prior
of a source without a visit is Beta(1/4, 1/4), as in gdro.core.difficulty, and counts as one visit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from gdro.core.difficulty import PRIOR
from gdro.core.errors import OptionError, StateError
from gdro.core.prompts import PromptTable, source_of
from gdro.core.ragged import Ragged
from gdro.core.state import ANY, State, read_array
from gdro.core.types import Floats, Ints

STRENGTH = (2.0 * PRIOR, 32.0)
"""Least and most pseudo-rollouts K of a source's prior."""
MARGIN = 1.0 / 512.0
"""A source's mean stays this far from 0 and 1, so that no prompt is ever certain."""


class SourcePosterior:
    """Posteriors of the prompts of a table; their own evidence is kept in three columns of it (12 bytes a prompt).

    Args:
        table: the prompts.
        separator: ends the source in an id; an id without it belongs to the source "".
        ageing: weight of a rollout relative to one a step later, in (0, 1].
        window: visits over which a source's moments are averaged, at least 1.

    Raises:
        OptionError: names the option that is out of range.
    """

    def __init__(self, table: PromptTable, separator: str, ageing: float, window: int) -> None:
        if not separator:
            raise OptionError("separator='' must not be empty; it ends the source in a prompt id")
        if not 0.0 < ageing <= 1.0:
            raise OptionError(f"ageing={ageing:g} must lie in (0, 1]; it is the weight of a rollout one step later")
        if window < 1:
            raise OptionError(f"source_window={window} must be at least 1 visit")
        self.table, self.separator, self.ageing, self.window = table, separator, ageing, window
        for name, kind in (("own_reward", np.float32), ("own_total", np.float32), ("own_step", np.int32)):
            table.add_column(name, kind, 0)
        self.sources: dict[str, int] = {}
        self.mean, self.square, self.visits = np.empty(0), np.empty(0), np.empty(0)

    def prior(self, prompt_ids: Sequence[str]) -> tuple[Floats, Floats]:
        """(M,) a and b of each prompt's source."""
        source = self.places(prompt_ids)
        mean = np.append(self.mean, 0.5)[source]
        square = np.append(self.square, _beta_square(PRIOR, PRIOR))[source]
        strength = np.clip(mean * (1.0 - mean) / (square - mean * mean) - 1.0, *STRENGTH)
        return mean * strength, (1.0 - mean) * strength

    def places(self, prompt_ids: Sequence[str]) -> Ints:
        """(M,) place of each prompt's source; -1 for a source without a visit."""
        find = self.sources.get
        return np.array([find(source_of(prompt_id, self.separator), -1) for prompt_id in prompt_ids], np.int64)

    def sizes(self, prompt_ids: Sequence[str]) -> Ints:
        """(M,) how many of these prompts are of the same source."""
        names = [source_of(prompt_id, self.separator) for prompt_id in prompt_ids]
        count = Counter(names)
        return np.array([count[name] for name in names], np.int64)

    def posterior(self, prompt_ids: Sequence[str], rows: Ints, now: int) -> tuple[Floats, Floats]:
        """(M,) a and b of prompts at step `now`; the prior for a row of -1."""
        a, b = self.prior(prompt_ids)
        known = rows >= 0
        reward, total = self._aged(rows[known], now)
        a[known] += reward
        b[known] += total - reward
        return a, b

    def learn(self, prompt_ids: Sequence[str], rows: Ints, now: int, unit: Ragged) -> None:
        """Take in one visit of each of M different prompts: their rewards in [0, 1], in M groups."""
        a, b = self.posterior(prompt_ids, rows, now)
        self._enter(prompt_ids)
        source, visited = np.unique(self.places(prompt_ids), return_inverse=True)
        reward, total = unit.sum(), unit.counts
        several = total > 1
        ordered = reward**2 - unit.map(unit.values**2).sum()  # over ordered pairs of different rollouts
        pairs = ordered / np.maximum(total * (total - 1.0), 1.0)
        self._move(source, visited, self.mean, reward / total - a / (a + b), np.ones(len(rows)))
        self._move(source, visited, self.square, pairs - _beta_square(a, b), several.astype(np.float64))
        size = np.bincount(visited)
        self.visits[source] = np.minimum(self.visits[source] + size, self.window)
        self._keep_proper()
        own_reward, own_total = self._aged(rows, now)
        self.table.column("own_reward")[rows] = own_reward + reward
        self.table.column("own_total")[rows] = own_total + total
        self.table.column("own_step")[rows] = now

    def _move(self, source: Ints, visited: Ints, moment: Floats, error: Floats, use: Floats) -> None:
        """Move a moment of the visited sources by the mean error of their visits."""
        size = np.bincount(visited, weights=use)
        total = np.bincount(visited, weights=error * use)
        moment[source] += total / np.maximum(np.minimum(self.visits[source] + size, self.window), size.clip(min=1.0))

    def _keep_proper(self) -> None:
        """Moments of a Beta distribution with K within STRENGTH."""
        self.mean = np.clip(self.mean, MARGIN, 1.0 - MARGIN)
        spread = self.mean * (1.0 - self.mean)
        least, most = (self.mean**2 + spread / (1.0 + strength) for strength in reversed(STRENGTH))
        self.square = np.clip(self.square, least, most)

    def _aged(self, rows: Ints, now: int) -> tuple[Floats, Floats]:
        """(M,) summed rewards and rollouts of known prompts, as they weigh at step `now`."""
        column = self.table.column
        weight = self.ageing ** np.maximum(now - column("own_step")[rows].astype(np.float64), 0.0)
        return column("own_reward")[rows] * weight, column("own_total")[rows] * weight

    def _enter(self, prompt_ids: Sequence[str]) -> None:
        """Give new sources a place, in the order of their names."""
        fresh = sorted({source_of(prompt_id, self.separator) for prompt_id in prompt_ids} - self.sources.keys())
        self.sources.update(zip(fresh, range(len(self.sources), len(self.sources) + len(fresh)), strict=True))
        self.mean = np.append(self.mean, np.full(len(fresh), 0.5))
        self.square = np.append(self.square, np.full(len(fresh), _beta_square(PRIOR, PRIOR)))
        self.visits = np.append(self.visits, np.ones(len(fresh)))

    def state_dict(self) -> State:
        """The sources; the prompts' own evidence is in the table."""
        return {
            "sources": list(self.sources),
            "mean": self.mean.copy(),
            "square": self.square.copy(),
            "visits": self.visits.copy(),
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave; raises StateError naming the key that is missing or damaged."""
        names = state.get("sources")
        if not isinstance(names, list) or len(set(names)) != len(names) or not all(isinstance(n, str) for n in names):
            raise StateError("state key 'sources' is not a list of different names; load an older checkpoint")
        like = np.empty(len(names))
        mean, square, visits = (read_array(state, key, like, rows=ANY) for key in ("mean", "square", "visits"))
        proper = all(len(array) == len(names) and np.isfinite(array).all() for array in (mean, square, visits))
        if not proper or ((mean <= 0.0) | (mean >= 1.0) | (square <= mean**2) | (square >= mean)).any():
            raise StateError("state keys 'mean', 'square': not the moments of these sources; load an older checkpoint")
        self.sources = {name: place for place, name in enumerate(names)}
        self.mean, self.square, self.visits = mean, square, visits


def live_probability(a: Floats, b: Floats, rollouts: int) -> Floats:
    """(M,) probability that `rollouts` rollouts of a prompt with p ~ Beta(a, b) are neither all right nor all wrong:
    1 - E[p^n] - E[(1-p)^n], with E[p^n] = prod_{k<n} (a + k) / (a + b + k)."""
    k = np.arange(rollouts)
    total = (a + b)[:, None] + k
    right, wrong = ((x[:, None] + k) / total for x in (a, b))
    return np.asarray(np.maximum(1.0 - right.prod(axis=1) - wrong.prod(axis=1), 0.0))


def live_gains(a: Floats, b: Floats, low: int, high: int) -> Floats:
    """(M, high - low) what one rollout more adds to `live_probability`, from n = low .. high - 1 >= 1 rollouts:
    E[p^n (1-p) + (1-p)^n p]. It falls with n, since p^n and (1-p)^n do, so the greedy choice of the largest gains
    maximises the expected number of live groups (`gdro.core.greedy`)."""
    n = np.arange(low, high)
    k = np.arange(high - 1)
    ever_right, ever_wrong = (np.cumprod((x[:, None] + k) / ((a + b)[:, None] + k), axis=1)[:, n - 1] for x in (a, b))
    total = (a + b)[:, None] + n
    return np.asarray(ever_right * b[:, None] / total + ever_wrong * a[:, None] / total)


def _beta_square(a: Floats | float, b: Floats | float) -> Floats:
    """E[p^2] under Beta(a, b)."""
    return np.asarray(a * (a + 1.0) / ((a + b) * (a + b + 1.0)))
