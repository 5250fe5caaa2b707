"""How fast each source is learnt: the slope of its success rate over the live groups that it was
given.

A live group is a gradient; whether the gradient teaches anything the group cannot tell. Prompts
that a guess solves one time in three are live for ever and never learnt. What tells is the source's
success rate on prompts seen for the FIRST time (a rate on prompts that come again also rises when
they are learnt by heart): which unseen prompt is taken does not depend on how hard it is, so each
is a fair sample of the source as it is then.

The model, for each source: a prompt first seen after x live groups of its source has the rate r =
alpha + beta x plus noise of variance SPREAD^2, alpha free and beta ~ Normal(pace, pace^2). Over
first visits, each of which counts `KEEP` times as much as the next, with S_ab the centred sum of
products, the posterior mean is that of ridge regression,

    beta = (S_xr + L pace) / (S_xx + L),      L = (SPREAD / pace)^2

and the progress of a source is max(beta / pace, LEAST): 1 before anything is known; LEAST where
nothing is learnt or something is forgotten, so that a source which comes into reach later is found.

The sums are kept about the present, u = x_i - x <= 0: when x grows by d they move by the binomial
theorem, and no large x is ever squared. Five numbers a source.

Learning progress as what a curriculum should follow: Oudeyer et al. (2007), Graves et al. (2017,
arXiv 1704.03003) and Matiisen et al. (2017, arXiv 1707.00183), who measure it by the rewards of all
that was drawn.
"""

from __future__ import annotations

import numpy as np

from gdro.core.errors import OptionError, StateError
from gdro.core.state import ANY, State, read_array
from gdro.core.types import Bools, Floats, Ints

SPREAD = 0.25
"""Standard deviation of the rate of one visit: that of four rollouts at a success probability of
one half."""
KEEP = 0.995
"""Weight of a first visit relative to the next one of its source: about the last 200 count."""
LEAST = 0.1
"""Least progress, so that no source is given up."""


class LearningProgress:
    """Slopes of the sources, by their places in a list that only grows (`SourcePosterior.places`).

    Args:
        pace: what is expected of a source without data: the rise of its rate, in [0, 1], per live
            group; above 0.

    Raises:
        OptionError: pace is out of range.
    """

    def __init__(self, pace: float) -> None:
        if not 0.0 < pace <= 1.0:
            raise OptionError(
                f"pace={pace:g} must lie in (0, 1], or be None; it is a rise of a rate per live"
                " group"
            )
        self.pace = pace
        self.sums = np.zeros((0, 5))

    def of(self, places: Ints) -> Floats:
        """(M,) progress of the sources at these places, 1 for a place that has not been met
        (-1)."""
        count, u, uu, r, ur = np.concatenate([self.sums, np.zeros((1, 5))]).T
        count = np.where(count > 0.0, count, 1.0)
        ridge = (SPREAD / self.pace) ** 2
        slope = (ur - u * r / count + ridge * self.pace) / (uu - u * u / count + ridge)
        progress = np.maximum(slope / self.pace, LEAST)
        return np.asarray(progress[np.where(places < len(self.sums), places, -1)])

    def standing_still(self) -> int:
        """Number of sources at LEAST."""
        return int((self.of(np.arange(len(self.sums))) <= LEAST).sum())

    def learn(self, places: Ints, first: Bools, live: Floats, rate: Floats) -> None:
        """Take in the M visits of one step.

        Args:
            places: (M,) the source of each, all met.
            first: (M,) whether the prompt was seen for the first time.
            live: (M,) expected live groups of each visit, before it.
            rate: (M,) mean of its rewards, in [0, 1].
        """
        size = max(len(self.sums), int(places.max(initial=-1)) + 1)
        count, u, uu, r, ur = np.concatenate([self.sums, np.zeros((size - len(self.sums), 5))]).T

        def total(values: Floats) -> Floats:
            return np.asarray(np.bincount(places, weights=values, minlength=size), np.float64)

        fresh, experience = total(first.astype(np.float64)), total(live)
        kept = KEEP**fresh
        count, u, uu, r, ur = (
            kept * count + fresh,
            kept * u,
            kept * uu,
            kept * r + total(first * rate),
            kept * ur,
        )
        d = experience
        self.sums = np.stack(
            [count, u - d * count, uu - 2.0 * d * u + d * d * count, r, ur - d * r], axis=1
        )

    def state_dict(self) -> State:
        """The sums, flat."""
        return {"sums": self.sums.ravel().copy()}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave; raises StateError naming the key that is missing or
        damaged."""
        sums = read_array(state, "sums", np.empty(0), rows=ANY)
        if len(sums) % 5 or not np.isfinite(sums).all():
            raise StateError(
                "state key 'sums' is not five finite numbers a source; load an older checkpoint"
            )
        self.sums = sums.reshape(-1, 5)
