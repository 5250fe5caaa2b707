"""How many tokens a rollout of each prompt takes, as far as its text and the name of its source
tell.

At a budget of tokens, the draw that gains most per token takes a prompt by its value / cost: the
greedy of the fractional knapsack (Dantzig, 1957). The cost is not known before the rollouts are
made, so it is learned here from those of earlier steps. With y the logarithm of the mean tokens of
a visit's rollouts and x the inputs of its prompt, u is the mode of a Bayesian linear model that
forgets,

    A <- f A + (1 - f) RIDGE I + sum x x^T      b <- f b + sum (y - mean) x      u = A^-1 b

with f = (1 - 1 / window)^M for M visits, as in `gdro.core.text_posterior`, and mean the mean of all
y with the same forgetting; b is kept for y itself, so that it is about the mean of today. A prompt
is expected to take exp(mean + u x) tokens: the geometric mean of what the likes of it took.

Where texts are known x is `TextFeatures.inputs`: text, the source's name, a constant. Elsewhere it
is the name, at one of NAMES places, and the constant.
"""

from __future__ import annotations

import numpy as np

from gdro.core.errors import OptionError, StateError
from gdro.core.prompts import Prompts
from gdro.core.state import State, read_array, read_float, read_int
from gdro.core.text_posterior import (
    CONSTANT,
    FORM,
    INPUTS,
    NAME,
    NAMES,
    TextFeatures,
    name_place,
)
from gdro.core.types import Floats

RIDGE = 0.3
"""Precision of each weight before any data, in visits of an x of length 1: the name of a source is
believed by half after two or three visits of it."""


class RolloutTokens:
    """Expected tokens of a rollout, by prompt.

    Args:
        features: of the prompts' texts; None where they are not known.
        window: visits after which what was learned counts a third of what is new, at least 1.

    Attributes:
        error: mean |log tokens - expected| of the last step's visits, before they were learned.

    Raises:
        OptionError: the window is out of range.
    """

    def __init__(self, features: TextFeatures | None = None, window: int = 512) -> None:
        if window < 1:
            raise OptionError(f"window={window} must be at least 1 visit")
        self.features, self.window = features, window
        size = NAMES + 1 if features is None else INPUTS
        self.precision = RIDGE * np.eye(size)
        self.moment, self.total = np.zeros(size), np.zeros(size)
        self.error = 0.0
        self._solve()

    @property
    def empty(self) -> bool:
        """Whether nothing was learned yet."""
        return not self.total.any()

    def expected(self, prompts: Prompts) -> Floats:
        """(M,) expected tokens of a rollout, above 0; 1 for each before anything is learned. Raises
        PromptIdError where a text is not known."""
        return np.asarray(np.exp(self.expected_log(prompts)))

    def expected_log(self, prompts: Prompts) -> Floats:
        """(M,) their logarithms, each to the last bit whatever the order of the prompts."""
        if self.features is None:
            return np.asarray(self.mean + self._named(prompts, self.weights).sum(axis=1))
        rows = self.features.rows_of(prompts)
        return np.asarray(self.mean + self.features.logits(rows, self.weights))

    def learn(self, prompts: Prompts, tokens: Floats) -> None:
        """Take in one visit of each of M different prompts.

        Args:
            tokens: (M,) mean tokens of the visit's rollouts, finite and above 0.
        """
        y = np.log(tokens)
        in_order = np.argsort(prompts.keys)  # sums must not depend on the order of the batch
        x, miss = self._inputs(prompts)[in_order], np.abs(y - self.expected_log(prompts))
        y = y[in_order]
        forget = (1.0 - 1.0 / self.window) ** len(y)
        ridge = (1.0 - forget) * RIDGE * np.eye(len(self.total))
        self.error = float(miss[in_order].mean())
        self.precision = forget * self.precision + ridge + x.T @ x
        self.moment = forget * self.moment + x.T @ y
        self.total = forget * self.total + x.sum(axis=0)
        self._solve()

    def _solve(self) -> None:
        """The mean and the weights that the sums stand for. Every x holds the constant, so that its
        place in `total` counts the visits, and in `moment` sums their y."""
        self.mean = 0.0 if self.empty else float(self.moment[-1] / self.total[-1])
        about_mean = self.moment - self.mean * self.total
        self.weights: Floats = np.asarray(np.linalg.solve(self.precision, about_mean), np.float64)

    def _inputs(self, prompts: Prompts) -> Floats:
        if self.features is None:
            return self._named(prompts, np.ones(NAMES + 1))
        return self.features.inputs(self.features.rows_of(prompts))

    def _named(self, prompts: Prompts, weights: Floats) -> Floats:
        """(M, NAMES + 1) the name's place and the constant, each times its weight."""
        _, first, source = np.unique(prompts.groups, return_index=True, return_inverse=True)
        places = np.array([name_place(prompts.ids[i]) for i in first.tolist()])[source]
        named = np.flatnonzero(places >= 0)
        out = np.zeros((len(prompts), NAMES + 1))
        out[named, places[named]] = NAME * weights[places[named]]
        out[:, -1] = CONSTANT * weights[-1]
        return out

    def state_dict(self) -> State:
        """The sums; texts are told anew."""
        return {
            "form": FORM,
            "precision": self.precision.copy(),
            "moment": self.moment.copy(),
            "total": self.total.copy(),
            "error": self.error,
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave; raises StateError naming the key that is missing or
        damaged, or where texts were read into vectors of another form."""
        if (form := read_int(state, "form")) != FORM:
            raise StateError(f"its texts were read into vectors of form {form}, here {FORM}")
        precision = read_array(state, "precision", self.precision)
        moment = read_array(state, "moment", self.moment)
        total, error = read_array(state, "total", self.total), read_float(state, "error")
        self.precision, self.moment, self.total, self.error = precision, moment, total, error
        self._solve()
