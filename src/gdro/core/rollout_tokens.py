"""How many tokens a rollout of each prompt takes, as far as its text and the name of its source
tell.

At a budget of tokens, the draw that gains most per token takes a prompt by its value / cost: the
greedy of the fractional knapsack (Dantzig, 1957). The cost is not known before the rollouts are
made, so it is learned here from those of earlier steps. With y the logarithm of the mean tokens of
a visit's rollouts and x the inputs of its prompt, u is the mode of a Bayesian linear model that
forgets,

    A <- f A + (1 - f) PRECISION I + sum x x^T      b <- f b + sum (y - mean) x      u = A^-1 b

with f = (1 - 1 / window)^M for M visits and PRECISION as in `gdro.core.text_posterior`, and mean
the mean of all y with the same forgetting; b is kept for y itself, so that it is about the mean of
today. A prompt is expected to take exp(mean + u x) tokens: the geometric mean of what the likes of
it took.

Where texts are known x is `TextFeatures.inputs`: text, the source's name, a constant. Elsewhere it
is the name, at one of NAMES places, and the constant.
"""

from __future__ import annotations

import numpy as np

from gdro.core.errors import OptionError
from gdro.core.prompts import Prompts
from gdro.core.state import State, read_array, read_float
from gdro.core.text_posterior import (
    FORM,
    INPUTS,
    NAMES,
    TextFeatures,
    check_form,
    faded,
    kept,
    name_inputs,
    name_place,
    nothing_known,
    one_thread,
    with_names,
)
from gdro.core.types import Floats, Ints


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
        self.precision = nothing_known(size)
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
            return np.asarray(self.mean + with_names(0.0, _places(prompts), self.weights))
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
        share = kept(self.window, len(y))
        self.error = float(miss[in_order].mean())
        with one_thread():
            self.precision = faded(self.precision, share) + x.T @ x
            self.moment = share * self.moment + x.T @ y
        self.total = share * self.total + x.sum(axis=0)
        self._solve()

    def _solve(self) -> None:
        """The mean and the weights that the sums stand for. Every x holds the constant, so that its
        place in `total` counts the visits, and in `moment` sums their y."""
        self.mean = 0.0 if self.empty else float(self.moment[-1] / self.total[-1])
        about_mean = self.moment - self.mean * self.total
        with one_thread():
            solved = np.linalg.solve(self.precision, about_mean)
        self.weights: Floats = np.asarray(solved, np.float64)

    def _inputs(self, prompts: Prompts) -> Floats:
        if self.features is None:
            return name_inputs(_places(prompts))
        return self.features.inputs(self.features.rows_of(prompts))

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
        check_form(state)
        precision = read_array(state, "precision", self.precision)
        moment = read_array(state, "moment", self.moment)
        total, error = read_array(state, "total", self.total), read_float(state, "error")
        self.precision, self.moment, self.total, self.error = precision, moment, total, error
        self._solve()


def _places(prompts: Prompts) -> Ints:
    """(M,) places of the names of the prompts' sources."""
    _, first, source = np.unique(prompts.groups, return_index=True, return_inverse=True)
    return np.array([name_place(prompts.ids[i]) for i in first.tolist()], np.int64)[source]
