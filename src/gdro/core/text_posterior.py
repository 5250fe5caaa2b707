"""Each prompt's success probability as a Beta posterior whose prior is read off the prompt's text:
what a source's name tells, without the name.

With x the vector of a text (`gdro.core.text_features`) and a constant, the prior of its prompt is

    p ~ Beta(m K, (1 - m) K)          m = sigmoid(w x)          K = 1 / rho - 1

with one K for all, rho being the share of m (1 - m) by which prompts of like texts still differ. A
prompt's own rollouts come on top and age, as in `gdro.core.source_posterior`.

After a step w is the mode of its posterior: a Gaussian N(w_old, A^-1) times the likelihood of the
step, in which a visit of n rollouts counts as n / (1 + (n - 1) rho) independent ones, since the
rollouts of a prompt share its p. A is then the information at the mode, and forgets:

    A <- f A + (1 - f) PRECISION I      f = (1 - 1 / window)^M      for M visits

The mode is found by Newton's method, which halves a step that does not gain (the objective is
concave). As there, moments are learned from prediction errors: the reward that enters is m + (mean
r - posterior mean), of mean m for every prompt while the posterior is right, WHICHEVER prompts are
chosen and however often; for a first visit it is the mean r itself. So does rho: for a pair of
rollouts r_j r_k - 2 m r + m^2 estimates (p - m)^2, and its error against the posterior moves rho.
"""

from __future__ import annotations

import numpy as np

from gdro.core.belief import beta_square
from gdro.core.difficulty import PRIOR
from gdro.core.errors import OptionError
from gdro.core.own_evidence import OwnEvidence
from gdro.core.prompts import Prompts, PromptTable
from gdro.core.ragged import Ragged
from gdro.core.source_posterior import MARGIN, STRENGTH
from gdro.core.state import State, read_array, read_float, read_int
from gdro.core.text_features import WIDTH, TextFeatures
from gdro.core.types import Floats

PRECISION = 0.3
"""Of each weight before any data: logits of texts have a prior deviation of about 1.8."""
CONSTANT = 0.5
"""Place of the constant in x; its weight moves all prompts alike."""
NEWTON_STEPS = 8
LEAST_GAIN = 1e-9


class TextPosterior:
    """Posteriors of the prompts of a table whose texts are known.

    Args:
        table: the prompts.
        features: of their texts.
        ageing: weight of a rollout relative to one a step later, in (0, 1].
        window: visits after which what was learned of texts counts a third of what is new, at
            least 1.

    Raises:
        OptionError: names the option that is out of range.
    """

    def __init__(
        self,
        table: PromptTable,
        features: TextFeatures,
        ageing: float = 0.99,
        window: int = 512,
    ) -> None:
        if window < 1:
            raise OptionError(f"window={window} must be at least 1 visit")
        self.window, self.features = window, features
        self.own = OwnEvidence(table, ageing)
        self.weights = np.zeros(WIDTH + 1)
        self.precision = PRECISION * np.eye(WIDTH + 1)
        self.rho, self.visits = 1.0 / (1.0 + 2.0 * PRIOR), 1

    @property
    def strength(self) -> float:
        """K, pseudo-rollouts of the prior."""
        return float(np.clip(1.0 / self.rho - 1.0, *STRENGTH))

    def prior(self, prompts: Prompts) -> tuple[Floats, Floats]:
        """(M,) a and b of prompts by their texts alone; raises PromptIdError where one is not
        known."""
        mean = _mean(self._inputs(prompts), self.weights)
        return mean * self.strength, (1.0 - mean) * self.strength

    def posterior(self, prompts: Prompts, now: int) -> tuple[Floats, Floats]:
        """(M,) a and b of prompts at step `now`; raises as `prior`."""
        return self.own.on_top_of(self.prior(prompts), prompts, now)

    def learn(self, prompts: Prompts, now: int, unit: Ragged, a: Floats, b: Floats) -> None:
        """Take in one visit of each of M different planned prompts.

        Args:
            unit: their rewards in [0, 1], in M groups.
            a, b: (M,) their posterior before the visit, as `posterior(prompts, now)` gives it.
        """
        inputs, reward, total = self._inputs(prompts), unit.sum(), unit.counts
        mean, error = _mean(inputs, self.weights), reward / total - a / (a + b)
        forget = (1.0 - 1.0 / self.window) ** len(total)
        self.precision = forget * self.precision + (1.0 - forget) * PRECISION * np.eye(WIDTH + 1)
        size = total / (1.0 + (total - 1.0) * self.rho)
        in_order = np.argsort(prompts.keys)  # sums must not depend on the order of the batch
        self._move(inputs[in_order], (mean + error)[in_order], size[in_order])
        several = total > 1
        square = unit.pair_products() - beta_square(a, b)
        found = ((square - 2.0 * mean * error) * several)[in_order].sum()
        room = ((mean * (1.0 - mean)) * several)[in_order].sum()
        self.visits = min(self.visits + len(total), self.window)
        if room > 0.0:
            self.rho += float(found / room) * min(1.0, several.sum() / self.visits)
        self.rho = min(max(self.rho, 1.0 / (1.0 + STRENGTH[1])), 1.0 / (1.0 + STRENGTH[0]))
        self.own.add(prompts.rows, now, reward, total)

    def _move(self, inputs: Floats, target: Floats, size: Floats) -> None:
        """Bring the weights to the mode, and the precision to the information there."""
        start, at = self.weights, self.weights
        height = self._log_density(inputs, target, size, start, at)
        for _ in range(NEWTON_STEPS):
            mean = _mean(inputs, at)
            gradient = inputs.T @ (size * (target - mean)) - self.precision @ (at - start)
            curvature = self.precision + inputs.T @ ((size * mean * (1.0 - mean))[:, None] * inputs)
            step, gain = np.linalg.solve(curvature, gradient), 0.0
            for _ in range(NEWTON_STEPS):
                reached = self._log_density(inputs, target, size, start, at + step)
                if (gain := reached - height) >= 0.0:
                    break
                step = step / 2.0
            if gain <= LEAST_GAIN:
                break
            at, height = at + step, reached
        self.weights, mean = at, _mean(inputs, at)
        self.precision = self.precision + inputs.T @ (
            (size * mean * (1.0 - mean))[:, None] * inputs
        )

    def _log_density(
        self, inputs: Floats, target: Floats, size: Floats, start: Floats, at: Floats
    ) -> float:
        logits = inputs @ at
        fit = size @ (target * logits - np.logaddexp(0.0, logits))
        return float(fit - 0.5 * (at - start) @ self.precision @ (at - start))

    def _inputs(self, prompts: Prompts) -> Floats:
        vectors = self.features.of(prompts.ids)
        return np.concatenate([vectors, np.full((len(vectors), 1), CONSTANT)], axis=1)

    def state_dict(self) -> State:
        """What was learned of texts; the texts themselves are told anew, own evidence is in the
        table."""
        return {
            "weights": self.weights.copy(),
            "precision": self.precision.copy(),
            "rho": self.rho,
            "visits": self.visits,
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave; raises StateError naming the key that is missing or
        damaged."""
        weights = read_array(state, "weights", self.weights)
        precision = read_array(state, "precision", self.precision)
        rho, visits = read_float(state, "rho"), read_int(state, "visits")
        self.weights, self.precision, self.rho, self.visits = weights, precision, rho, visits


def _mean(inputs: Floats, weights: Floats) -> Floats:
    """(M,) sigmoid, at least MARGIN from 0 and 1; each row by itself, to the last bit, whatever the
    order of the rows."""
    logits = (inputs * weights).sum(axis=1)
    return np.asarray(np.clip(1.0 / (1.0 + np.exp(-logits)), MARGIN, 1.0 - MARGIN))
