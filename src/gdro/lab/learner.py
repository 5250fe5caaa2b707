"""A simulated learner: what a policy gradient step would do to a handful of skills, noise included.

A rollout's score vector is taken as (r - p) x for what its success teaches, plus a random part of length `noise` in
every direction for all else that it says. With advantages A_ij and weights w_i, prompt i gives

    signal    w_i mean_j A_ij (r_ij - p_i) x_i  =  w_i std_i^2 / (std_i + epsilon) x_i        (GRPO; binary rewards)
    noise     variance  (w_i / n_i)^2 sum_j A_ij^2  in each direction

so groups that are all right or all wrong teach nothing, and more rollouts of a prompt mean less noise. (A controller
that sets baselines gets these sums of its own advantages.) The batch gradient is averaged over prompts (each prompt's
loss scaled by nbar / n_i) or over rows, as an engine may do it. Like Adam, the step divides by a running size of the
gradient: the scale of the weights does not matter, noise slows learning. Between steps, skills are pulled back to where
they began (`forgetting`, like a KL penalty) and wander (`drift`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gdro.core.types import Feedback, Floats, Ints
from gdro.lab.population import Features

EPSILON = 1e-4
"""Beside the standard deviation in GRPO's advantage."""


@dataclass(frozen=True)
class Learning:
    """How fast and how noisily the learner learns.

    Attributes:
        rate: length of a step.
        noise: length of a rollout's random part, per direction.
        forgetting: share of what was learnt that is lost in each step.
        drift: standard deviation of each skill's random walk, per step.
        average: of the batch's loss, over prompts or over rows.
    """

    rate: float = 0.05
    noise: float = 0.3
    forgetting: float = 0.005
    drift: float = 0.0
    average: Literal["prompts", "rows"] = "prompts"


@dataclass
class Learner:
    """Skills theta (K,), and what a step measured.

    Attributes:
        scale: running mean of the squared length of the gradient.
        signal_share: squared signal over squared signal plus noise variance, of the last step.
    """

    theta: Floats
    learning: Learning
    scale: float = 0.0
    steps: int = 0
    signal_share: float = 0.0

    def learn(
        self,
        features: Features,
        correct: Ints,
        counts: Ints,
        weights: Floats,
        rng: np.random.Generator,
        sums: tuple[Floats, Floats] | None = None,
    ) -> None:
        """One step on M prompts: their features (M, K), correct rollouts, rollouts and weights (M,).

        Args:
            sums: what `group_signal` gives, of other advantages than GRPO's.
        """
        gain, spread = group_signal(correct, counts) if sums is None else sums
        share = counts / counts.sum() if self.learning.average == "rows" else np.full(len(counts), 1.0 / len(counts))
        signal = (share * weights * gain) @ features.astype(np.float64)
        variance = self.learning.noise**2 * float(((share * weights) ** 2 * spread / counts).sum())
        gradient = signal + np.sqrt(variance) * rng.standard_normal(len(signal))
        power = float(signal @ signal)
        self.signal_share = power / max(power + variance * len(signal), 1e-300)
        self.scale = 0.95 * self.scale + 0.05 * float(gradient @ gradient)
        self.steps += 1
        size = np.sqrt(self.scale / (1.0 - 0.95**self.steps))
        if size > 0.0:
            self.theta = self.theta + self.learning.rate * gradient / size

    def rest(self, start: Floats, rng: np.random.Generator) -> None:
        """What happens to the skills between steps."""
        self.theta = self.theta + self.learning.forgetting * (start - self.theta)
        if self.learning.drift:
            self.theta = self.theta + self.learning.drift * rng.standard_normal(len(self.theta))


def group_signal(correct: Ints, counts: Ints) -> tuple[Floats, Floats]:
    """(M,) mean_j A_ij (r_ij - p) for any p, and mean_j A_ij^2, of GRPO advantages of binary rewards."""
    rate = correct / counts
    variance = rate * (1.0 - rate)
    deviation = np.sqrt(variance)
    return variance / (deviation + EPSILON), variance / (deviation + EPSILON) ** 2


def baseline_signal(correct: Ints, counts: Ints, rates: Floats, feedback: Feedback) -> tuple[Floats, Floats] | None:
    """(M,) mean_j A_ij (r_ij - p_i) and mean_j A_ij^2 of advantages against the feedback's baselines; None without."""
    if feedback.baselines is None or feedback.deviations is None:
        return None
    share = correct / counts
    right, wrong = (1.0 - feedback.baselines) / feedback.deviations, feedback.baselines / feedback.deviations
    gain = share * right * (1.0 - rates) + (1.0 - share) * wrong * rates
    return gain, share * right**2 + (1.0 - share) * wrong**2


def surrogate_losses(counts: Ints, size: float, rng: np.random.Generator) -> Floats:
    """(M,) what the GRPO loss of eqs. 6 and 7 looks like: 0 on-policy, plus the little that off-policy drift leaves."""
    return size * rng.standard_normal(len(counts)) / np.sqrt(counts)
