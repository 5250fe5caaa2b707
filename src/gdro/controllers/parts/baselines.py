"""Baselines: what a rollout's reward is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.part import BETA, Baseline
from gdro.core.belief import Belief
from gdro.core.outcome import Outcome
from gdro.core.types import Floats


@dataclass(kw_only=True, eq=False)
class Group(Baseline):
    """The other rollouts of the prompt: the engine's own advantage, as GRPO's."""

    name: ClassVar[str] = "group"
    own: ClassVar[bool] = False

    def terms(self, outcome: Outcome, before: Belief) -> tuple[Floats, Floats] | None:
        return None


@dataclass(kw_only=True, eq=False)
class Posterior(Baseline):
    """The posterior mean without the rollout itself, (a + R - r_j) / (T - 1) with T = a + b + n.

    R is the total reward of the n rollouts and Beta(a, b) the belief before them. The baseline does
    not depend on r_j, so by itself it biases nothing; a + b = 0 is RLOO, a + b -> infinity a fixed
    value function. The mean of a few other rollouts is noisy and leaves no gradient where all
    rewards agree; this one shrinks it towards what is known. Since

        r_j - (a + R - r_j) / (T - 1) = (r_j - mu) T / (T - 1),        mu = (a + R) / T,

    it is one number a prompt. Advantages are divided by the standard deviation sqrt(mu (1 - mu)),
    as GRPO's are. That deviation holds r_j too, so the objective is not the mean reward: a prompt's
    expected gradient is U'(p) grad p, with U' in closed form (`gdro.core.theory.posterior_slope`):
    nearly flat in p for one belief (2.37, 2.16, 2.37 at p = .02, .5, .98 for n = 4 and Beta(1/4,
    1/4)), and between beliefs larger where what is known of the prompt is certain. So it is the
    mean reward of prompts that count by about 1 / sqrt(m (1 - m)), m being what their source's
    prompts reach. Baselines that shrink are known to lower the variance: towards the mean of the
    batch (arXiv 2511.03710), of all data (2602.05165), by a prompt's discounted history
    (2603.18444); here towards its source's, with its own history.
    """

    name: ClassVar[str] = "posterior"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({BETA})

    def terms(self, outcome: Outcome, before: Belief) -> tuple[Floats, Floats] | None:
        low, high = self.facts.reward_range
        a, b = before.beta
        mean, total = before.mean_after(outcome), a + b + outcome.counts
        spread = (high - low) * np.sqrt(mean * (1.0 - mean)) * (total - 1.0) / total
        return low + (high - low) * mean, spread
