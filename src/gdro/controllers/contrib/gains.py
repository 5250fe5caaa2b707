"""Allocators that differ in one function alone: what the next rollout of a prompt gains.

Each hands out its rollouts beyond min_rollouts one by one, always where the gain is largest. Its
gains fall with the rollouts that a prompt has, so of all plans with the exact total this one has
the largest sum (proof in gdro.core.budget; Wright, 2012): what the sources solve by dynamic
programming, or relax to real numbers and round, is exact here at the cost of one partition.
Success rates come from the prompts' posteriors; bounds and total are those of every controller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gdro.controllers.part import BETA, Allocation, Batch
from gdro.controllers.parts.allocators import RaggedAllocator
from gdro.core.belief import expected_variance
from gdro.core.types import UNSEEN, Floats, Ints

Variance = Literal["rloo", "dr_grpo"]


@dataclass(kw_only=True, eq=False)
class GainAllocator(RaggedAllocator):
    """The plan with the largest gain by the posteriors; subclasses give `gains`."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({BETA})

    def gains(self, a: Floats, b: Floats, low: int, high: int) -> Floats:
        """(S, high - low) what each rollout beyond `low` gains on prompts whose success rates have
        the posteriors Beta(a, b), each (S,); no row may rise."""
        raise NotImplementedError

    def allocate(self, batch: Batch) -> Allocation:
        seen = np.flatnonzero(batch.belief.bins != UNSEEN)
        a, b = (column[seen] for column in batch.belief.beta)
        gains = self.gains(a, b, self.facts.min_rollouts, self.facts.max_rollouts)
        return Allocation(self.by_gain(gains, seen, batch))


@dataclass(kw_only=True, eq=False)
class Neyman(GainAllocator):
    """Neyman allocation by prompt: the least variance of the batch's mean reward, sum_i v_i / n_i.

    Source: Neyman (1934); the square-root law of arXiv 2601.19280 (eqs. 28-31) without bins. The
    binned form is `sqrt_law`. v_i is the posterior expectation of p_i (1 - p_i). Over real numbers
    n_i is proportional to sqrt(v_i); over whole ones v / n is convex.
    """

    name: ClassVar[str] = "neyman"

    def gains(self, a: Floats, b: Floats, low: int, high: int) -> Floats:
        n = np.arange(low, high)
        return np.outer(expected_variance(a, b), 1.0 / (n * (n + 1.0)))


@dataclass(kw_only=True, eq=False)
class Knapsack(GainAllocator):
    """Knapsack RL: rollouts as a knapsack, each prompt's value being the chance of a gradient times
    what it teaches, v(n, p) = (1 - p^n - (1-p)^n) p (1-p)^2.

    Source: Li et al., arXiv 2509.25849; value function read in the released code. v is concave in
    n. Difference: p is the mean of the prompt's posterior (the paper: its last success rate, from
    memory), so it never is exactly 0 or 1 and every prompt keeps some value.
    """

    name: ClassVar[str] = "knapsack"

    def gains(self, a: Floats, b: Floats, low: int, high: int) -> Floats:
        return knapsack_gains(a / (a + b), low, high)


@dataclass(kw_only=True, eq=False)
class VIP(GainAllocator):
    """VIP: the least predicted variance of the policy gradient.

    Source: Nguyen et al., arXiv 2602.01601 (formulas from the paper; no code was released). With g
    = 4 p (1-p) for rewards of +-1, the variance of prompt i's gradient is proportional to

        rloo      g / (n - 1)      convex for n >= 2
        dr_grpo   g (n - 1) / n^2  convex for n >= 3, rising from n = 1 to 2: more first add noise

    Difference: the paper predicts p by a Gaussian process over prompt embeddings; the core knows no
    embeddings, so p comes from each prompt's own posterior (g = 4 E[p (1-p)]).

    Attributes:
        form: rloo (needs min_rollouts >= 2) or dr_grpo (needs min_rollouts >= 3).
    """

    form: Variance = "rloo"

    name: ClassVar[str] = "vip"

    def start(self) -> None:
        needed = 2 if self.form == "rloo" else 3
        convex = self.facts.min_rollouts >= needed
        self.require(
            convex, "form", f"needs min_rollouts >= {needed}, where its variance is convex"
        )

    def gains(self, a: Floats, b: Floats, low: int, high: int) -> Floats:
        fall = -np.diff(rollout_variance(np.arange(low, high + 1), self.form))
        return np.outer(4.0 * expected_variance(a, b), fall)


@dataclass(kw_only=True, eq=False)
class HORA(GainAllocator):
    """HORA: the most prompts, in expectation, that are solved at least once more.

    Source: Wang et al., arXiv 2605.07114. Hit utility of m more rollouts of a prompt whose success
    rate has the posterior Beta(a, b):

        H(m) = 1 - E[(1-p)^m] = 1 - prod_{j<m} (b + j) / (a + b + j)

    Its gains E[(1-p)^m p] fall with m. The paper draws a uniform first round, takes a, b = 1 +
    right, 1 + wrong (prior Beta(1, 1)) and allots what is left of the budget, at most 32 rollouts a
    prompt.

    `rounds: hora` of the TRL engine is the paper's, the first round included
    (`gdro.engines.trl.rounds`). As an allocator, here, it is ours: what was seen of the prompt in
    its earlier visits, aged, stands in the place of the first round, so a step generates once; m
    counts from min_rollouts, which every prompt gets, and max_rollouts is the cap.
    """

    name: ClassVar[str] = "hora"

    def gains(self, a: Floats, b: Floats, low: int, high: int) -> Floats:
        return hit_gains(a, b, low, high)


def knapsack_gains(p: Floats, low: int, high: int) -> Floats:
    """(M, high - low) v(n+1, p) - v(n, p) = p (1-p)^2 (p^n (1-p) + (1-p)^n p), n = low .. high - 1,
    for success rates p (M,)."""
    n = np.arange(low, high)
    hit, miss = p[:, None], 1.0 - p[:, None]
    return hit * miss**2 * (hit**n * miss + miss**n * hit)


def rollout_variance(n: Ints, form: Variance) -> Floats:
    """Variance of a prompt's gradient with n rollouts, in units of 4 p (1-p)."""
    return np.asarray(1.0 / (n - 1.0) if form == "rloo" else (n - 1.0) / n**2)


def hit_gains(a: Floats, b: Floats, low: int, high: int) -> Floats:
    """(M, high - low) H(n + 1) - H(n) = E[(1-p)^n p] for n = low .. high - 1."""
    steps, total = np.arange(max(high - 1, 0)), (a + b)[:, None]
    missed = np.cumprod((b[:, None] + steps) / (total + steps), axis=1)
    missed = np.concatenate([np.ones((len(a), 1)), missed], axis=1)[:, low:high]
    return np.asarray(missed * a[:, None] / (total + np.arange(low, high)))
