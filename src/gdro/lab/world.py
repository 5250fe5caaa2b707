"""The world of `gdro simulate`: a population of prompts, a learner of a few numbers, and its
examination.

The population. Prompt i succeeds with probability p_i, logit p_i = x_i . theta - d_i. The features
x_i say which skills it needs:

    one shared by all, one of its family, `skills` hidden ones (a random direction, so that prompts
    help and hinder one another; there are far fewer skills than prompts), and one shortcut that
    helps easy prompts and hurts hard ones

Difficulties d_i have a heavy upper tail: a family level, plus a normal part, plus an exponential
part for every third prompt. The shortcut stands for what sharpens a policy on what it already
solves; without it (`shortcut=0`) all scores rise together. Held-out prompts come from the same
families and the same law.

The learner: what a policy gradient step would do to a handful of skills, noise included. A
rollout's score vector is taken as (r - p) x for what its success teaches, plus a random part of
length `noise` in every direction for all else that it says. With advantages A_ij and weights w_i,
prompt i gives

    signal    w_i mean_j A_ij (r_ij - p_i) x_i  =  w_i std_i^2 / (std_i + epsilon) x_i  (binary)
    noise     variance  (w_i / n_i)^2 sum_j A_ij^2  in each direction

so groups that are all right or all wrong teach nothing, and more rollouts of a prompt mean less
noise. (A controller that sets baselines gets these sums of its own advantages.) The batch gradient
is averaged over prompts (each prompt's loss scaled by nbar / n_i) or over rows, as an engine may do
it. Like Adam, the step divides by a running size of the gradient: the scale of the weights does not
matter, noise slows learning. Between steps, skills are pulled back to where they began
(`forgetting`, like a KL penalty) and wander (`drift`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gdro.core.types import Feedback, Floats, Ints

Features = NDArray[np.float32]


@dataclass(frozen=True)
class World:
    """The law that prompts are drawn from.

    Attributes:
        prompts: prompts to train on.
        families: each with its own level and skill.
        skills: hidden skills beside the shared one and the families'.
        hardness, hardness_sd: middle and standard deviation of the difficulties' normal part.
        tail: mean of the exponential part of the hard tail.
        shared, own, hidden, shortcut: lengths of the four parts of the features.
        turn: difficulty at which the shortcut turns from help to harm.
    """

    prompts: int = 2000
    families: int = 8
    skills: int = 24
    hardness: float = 1.6
    hardness_sd: float = 2.2
    tail: float = 3.0
    shared: float = 0.1
    own: float = 0.3
    hidden: float = 1.0
    shortcut: float = 0.5
    turn: float = 1.5

    @property
    def dimensions(self) -> int:
        """Numbers that the learner learns."""
        return 2 + self.families + self.skills


@dataclass(frozen=True)
class Population:
    """Prompts by row.

    Attributes:
        ids: (N,) e.g. `family03/0000017`.
        features: (N, K) x_i.
        difficulty: (N,) d_i.
    """

    ids: Sequence[str]
    features: Features
    difficulty: NDArray[np.float32]

    def rates(self, theta: Floats, rows: Ints | slice = slice(None)) -> Floats:
        """(M,) success rates of rows, for a learner at theta (K,)."""
        logit = self.features[rows] @ theta.astype(np.float32) - self.difficulty[rows]
        return 1.0 / (1.0 + np.exp(-logit.astype(np.float64)))


def draw_population(world: World, count: int, seed: int, stream: int) -> Population:
    """`count` prompts of a world; another stream of the same seed gives others of the same
    families."""
    level = np.random.default_rng((seed, 0)).normal(0.0, 1.0, world.families)
    rng = np.random.default_rng((seed, 1 + stream))
    family = rng.integers(0, world.families, count)
    tail = np.where(rng.random(count) < 1.0 / 3.0, rng.exponential(world.tail, count), 0.0)
    difficulty = world.hardness + level[family] + rng.normal(0.0, world.hardness_sd, count) + tail
    features = np.zeros((count, world.dimensions), np.float32)
    features[:, 0] = world.shared
    features[np.arange(count), 1 + family] = world.own
    hidden = rng.standard_normal((count, world.skills), np.float32)
    hidden *= world.hidden / np.sqrt(np.maximum((hidden**2).sum(axis=1, keepdims=True), 1e-12))
    features[:, 1 + world.families : -1] = hidden
    features[:, -1] = world.shortcut * np.clip(
        (world.turn - difficulty) / world.hardness_sd, -1.5, 1.5
    )
    ids = [f"family{f:02d}/{row:07d}" for row, f in enumerate(family.tolist())]
    return Population(ids, features, difficulty.astype(np.float32))


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
        """One step on M prompts: their features (M, K), correct rollouts, rollouts and weights
        (M,).

        Args:
            sums: what `group_signal` gives, of other advantages than GRPO's.
        """
        gain, second = group_signal(correct, counts) if sums is None else sums
        share = (
            counts / counts.sum()
            if self.learning.average == "rows"
            else np.full(len(counts), 1.0 / len(counts))
        )
        signal = (share * weights * gain) @ features.astype(np.float64)
        variance = self.learning.noise**2 * float(((share * weights) ** 2 * second / counts).sum())
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
    """(M,) mean_j A_ij (r_ij - p) for any p, and mean_j A_ij^2, of GRPO advantages of binary
    rewards."""
    rate = correct / counts
    variance = rate * (1.0 - rate)
    deviation = np.sqrt(variance)
    return variance / (deviation + EPSILON), variance / (deviation + EPSILON) ** 2


def baseline_signal(
    correct: Ints, counts: Ints, rates: Floats, feedback: Feedback
) -> tuple[Floats, Floats] | None:
    """(M,) mean_j A_ij (r_ij - p_i) and mean_j A_ij^2 of advantages against the feedback's
    baselines; None without."""
    if feedback.baselines is None or feedback.deviations is None:
        return None
    share = correct / counts
    right, wrong = (
        (1.0 - feedback.baselines) / feedback.deviations,
        feedback.baselines / feedback.deviations,
    )
    gain = share * right * (1.0 - rates) + (1.0 - share) * wrong * rates
    return gain, share * right**2 + (1.0 - share) * wrong**2


def surrogate_losses(counts: Ints, size: float, rng: np.random.Generator) -> Floats:
    """(M,) what the GRPO loss of eqs. 6 and 7 looks like: 0 on-policy, plus the little that
    off-policy drift leaves."""
    return size * rng.standard_normal(len(counts)) / np.sqrt(counts)


K = 8
BINS = 10


class Examination:
    """Held-out prompts in ten bins of equal size by their success rate before training, the same
    bins for ever.

    Scores: mean@8 and pass@8 over all, pass@8 of the worst bin, both of the hardest fifth, and
    forgetting, the mean fall of a prompt's success rate from the best that it ever had at an
    evaluation.
    """

    def __init__(self, prompts: Population) -> None:
        self.prompts = prompts
        rates = prompts.rates(np.zeros(prompts.features.shape[1]))
        self.best = rates
        self.bin: Ints = np.argsort(np.argsort(rates, kind="stable")) * BINS // len(rates)

    def hold(self, step: int, theta: Floats) -> dict[str, float]:
        """Scores of a learner at theta (K,), at this step."""
        rates = self.prompts.rates(theta)
        self.best = np.maximum(self.best, rates)
        solved = 1.0 - (1.0 - rates) ** K
        by_bin = np.bincount(self.bin, weights=solved) / np.bincount(self.bin)
        return {
            "step": float(step),
            "mean_at_k": float(rates.mean()),
            "pass_at_k": float(solved.mean()),
            "worst_bin": float(by_bin.min()),
            "hardest_fifth": float(rates[self.bin < 2].mean()),
            "hardest_fifth_pass": float(solved[self.bin < 2].mean()),
            "forgetting": float((self.best - rates).mean()),
        }
