"""MT-GRPO: tasks that are weak and improve little get more of the batch, by a softmax learnt
online.

Source: Ramesh et al., arXiv 2602.05547; read in the release. Task weights z = softmax(xi). After a
step

    s_k = I_k + lambda J_k        g_k = z_k (s_k - sum_j z_j s_j)        xi <- xi - beta g

with J_k the task's accuracy, smoothed by .5, and I_k its improvement; lambda .2 or .25, beta .025.
Its sampler draws task k in proportion to z_k min(1 / (1 - d_k), M), d_k being the share of its
prompts without a gradient, smoothed by .9: among the prompts that have one, task k then has about
z_k.

From the release: the step is Adam's with rate beta (and decay 1e-5), so the size of g hardly
counts; `step_rule: gradient` is the formula as it stands, far slower. I_k there is the fall of the
surrogate loss on the same rollouts, clipped at .1 (times the learning rate over 1e-6), at the cost
of one more forward pass (`improvement: surrogate`, summed over a task's prompts); a variant takes
the change of the accuracy, clipped at .2. M is 5.

Ours: `improvement: accuracy`, the change of the smoothed accuracy, is the default, as it costs
nothing. xi moves once a step, where the release moves it after every update of the policy. A step
generates once, where the paper samples on, up to 10 rounds, until each task has its share of
prompts with a gradient. A task is a source (`algebra` of `algebra/17`) or a bin, as for SEC; one
not met yet has xi = 0, and only tasks that were met are in the softmax of the update.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.controllers.contrib.categories import Category, CategorySelector
from gdro.core.adversaries import softmax
from gdro.core.belief import Belief
from gdro.core.outcome import Outcome, Pending
from gdro.core.types import Floats

Improvement = Literal["accuracy", "surrogate"]
StepRule = Literal["adam", "gradient"]
DEAD_DECAY, WEIGHT_DECAY = 0.9, 1e-5
CLIP = {"accuracy": 0.2, "surrogate": 0.1}
"""Largest absolute improvement."""
ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8


@dataclass(kw_only=True, eq=False)
class MTGRPO(CategorySelector):
    """Attributes:
    reward_weight: lambda, weight of the accuracy beside the improvement.
    step_size: beta.
    accuracy_decay: weight of the past in a task's accuracy.
    most_inflation: M, cap of the sampler's factor; 1 turns it off.
    improvement: accuracy or surrogate (needs the engine's losses).
    step_rule: adam (the release) or gradient (the formula).
    """

    category: Category = "source"
    reward_weight: float = 0.2
    step_size: float = 0.025
    accuracy_decay: float = 0.5
    most_inflation: float = 5.0
    improvement: Improvement = "accuracy"
    step_rule: StepRule = "adam"

    name: ClassVar[str] = "mt_grpo"

    @property
    def needs_losses(self) -> bool:
        return self.improvement == "surrogate"

    def start(self) -> None:
        super().start()
        self.require(self.reward_weight >= 0.0, "reward_weight", "must be at least 0")
        self.require(self.step_size > 0.0, "step_size", "must be above 0")
        self.require(0.0 <= self.accuracy_decay < 1.0, "accuracy_decay", "must lie in [0, 1)")
        self.require(self.most_inflation >= 1.0, "most_inflation", "must be at least 1")
        names = ("xi", "first", "second", "accuracy", "dead")
        self.state = {name: np.zeros(self.categories) for name in names}
        self.state |= {"met": np.zeros(self.categories, np.bool_), "steps": 0}

    def scores(self) -> Floats:
        """(C,) log of what the sampler draws by: xi + log min(1 / (1 - d), M)."""
        alive = np.maximum(1.0 - self.state["dead"], 1.0 / self.most_inflation)
        return np.asarray(self.state["xi"] - np.log(alive))

    def update(self, outcome: Outcome, before: Belief) -> None:
        category, state = self.categories_of(outcome), self.state
        here = np.bincount(category, minlength=self.categories)
        present = here > 0
        share = np.maximum(here, 1)
        right = np.bincount(category, outcome.correct / outcome.counts, self.categories) / share
        dead = np.bincount(category, (~outcome.live).astype(np.float64), self.categories) / share
        old, keep = state["accuracy"], self.accuracy_decay
        state["accuracy"] = np.where(present, keep * old + (1.0 - keep) * right, old)
        moved = DEAD_DECAY * state["dead"] + (1.0 - DEAD_DECAY) * dead
        state["dead"] = np.where(present, moved, state["dead"])
        known = state["met"] & present
        state["met"] = state["met"] | present
        if self.improvement == "accuracy":
            self._step(np.where(known, state["accuracy"] - old, 0.0))

    def update_losses(self, batch: Pending, losses: Floats) -> None:
        if self.improvement == "surrogate":
            category = self.category_of(batch.prompts, batch.bins)
            self._step(np.bincount(category, -losses, self.categories).astype(np.float64))

    def _step(self, improvement: Floats) -> None:
        """Move xi by the improvements (C,) of this step, 0 for a task that was absent."""
        met = np.flatnonzero(self.state["met"])
        bound = CLIP[self.improvement]
        gain = np.clip(improvement, -bound, bound) + self.reward_weight * self.state["accuracy"]
        slope = np.zeros(self.categories)
        slope[met] = softmax_slope(self.state["xi"][met], gain[met])
        if self.step_rule == "gradient":
            self.state["xi"] = self.state["xi"] - self.step_size * slope
        else:
            self._adam(slope, met)

    def _adam(self, slope: Floats, met: np.ndarray) -> None:
        state, (fast, slow) = self.state, ADAM_BETAS
        slope = slope + WEIGHT_DECAY * state["xi"]
        state["steps"] += 1
        state["first"] = fast * state["first"] + (1.0 - fast) * slope
        state["second"] = slow * state["second"] + (1.0 - slow) * slope**2
        mean = state["first"] / (1.0 - fast ** state["steps"])
        size = np.sqrt(state["second"] / (1.0 - slow ** state["steps"])) + ADAM_EPSILON
        moved = state["xi"].copy()
        moved[met] -= self.step_size * (mean / size)[met]
        state["xi"] = moved


def softmax_slope(xi: Floats, gain: Floats) -> Floats:
    """(K,) g_k = z_k (s_k - sum_j z_j s_j), z = softmax(xi): the gradient of sum z s by xi."""
    z = softmax(xi)
    return np.asarray(z * (gain - z @ gain))
