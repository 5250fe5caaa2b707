"""Allocators of gdro's own: how many rollouts each prompt gets, under an exact total."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.part import BETA, Allocation, Allocator, Batch
from gdro.core.belief import Belief, live_gains
from gdro.core.budget import exact_budget, greedy_allocation, sqrt_law
from gdro.core.difficulty import bin_centres
from gdro.core.hashing import exponentials, step_keys, uniforms
from gdro.core.outcome import Outcome, Pending
from gdro.core.shadow_price import RolloutGame, Utility, newest_variance
from gdro.core.signals import bin_shares, moving_average
from gdro.core.state import State
from gdro.core.types import UNSEEN, Floats, Ints


@dataclass(kw_only=True, eq=False)
class Uniform(Allocator):
    """Every prompt gets the mean."""

    name: ClassVar[str] = "uniform"
    equal: ClassVar[bool] = True

    def allocate(self, batch: Batch) -> Allocation:
        mean = self.facts.mean_rollouts
        return Allocation(np.full(len(batch), mean), np.full(self.facts.bins, float(mean)))


@dataclass(kw_only=True, eq=False)
class RaggedAllocator(Allocator):
    """What the others share: a prompt in no bin gets the mean, the rest of the total goes to the
    others."""

    def by_bin(self, demand: Floats, batch: Batch) -> Ints:
        """(M,) the bins' demand (B,) made exact over the prompts that have a bin."""
        seen = np.flatnonzero(batch.belief.bins != UNSEEN)
        return self.by_demand(demand[batch.belief.bins[seen]], seen, batch)

    def by_demand(self, demand: Floats, seen: Ints, batch: Batch) -> Ints:
        """(M,) the demand (S,) of the prompts at these places made exact, the mean for the
        others."""
        facts = self.facts
        rollouts = np.full(len(batch), facts.mean_rollouts)
        if seen.size:
            total = facts.mean_rollouts * seen.size
            rollouts[seen] = exact_budget(
                demand, total, facts.min_rollouts, facts.max_rollouts, batch.keys[seen]
            )
        return rollouts

    def by_gain(self, gains: Floats, seen: Ints, batch: Batch) -> Ints:
        """(M,) the largest of the gains (S, max - min) of the prompts at these places, the mean for
        the others."""
        facts = self.facts
        rollouts = np.full(len(batch), facts.mean_rollouts)
        if seen.size:
            spare = (facts.mean_rollouts - facts.min_rollouts) * seen.size
            rollouts[seen] = facts.min_rollouts + greedy_allocation(gains, spare, batch.keys[seen])
        return rollouts


@dataclass(kw_only=True, eq=False)
class ShadowPrice(RaggedAllocator):
    """Rollout-GDRO: a compute adversary under an exact mean budget, steered by a shadow price (eqs.
    17-21).

    Rollouts go where they lower the variance of the gradient most. When the gradient of a prompt of
    bin b weighs w_b and one of its rollouts has variance v_b, the variance of a batch is sum_b
    share_b w_b^2 v_b / n_b, least at n_b proportional to w_b sqrt(v_b).

    Attributes:
        utility: variance (the square-root law emerges) or surrogate (the paper's, eq. 18).
        coupled: put the weigher's weights into that law; False runs the two games side by side, as
            the paper does.
        arm_eta: rate of the exponential weights over the arms min_rollouts..max_rollouts.
        arm_gamma: uniform mixing over the arms.
        arm_ema: weight of the newest observation in the arms' estimates.
        price_step: alpha_mu of eq. 21 at nbar = 4, of utility surrogate; None for 0.05. With
            utility variance the price that clears each batch is solved for (see
            gdro.core.shadow_price).
        price_limit: mu_max of eq. 21, of utility surrogate; None for 10.
    """

    utility: Utility = "variance"
    coupled: bool = True
    arm_eta: float = 16.0
    arm_gamma: float = 0.01
    arm_ema: float = 0.4
    price_step: float | None = None
    price_limit: float | None = None

    name: ClassVar[str] = "shadow_price"

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("price_step", "price_limit"):
            given = getattr(self, option) is not None
            self.require(
                not given or self.utility == "surrogate",
                option,
                "is of utility='surrogate'; leave it out",
            )

    @property
    def needs_losses(self) -> bool:
        return self.utility == "surrogate"

    def start(self) -> None:
        facts = self.facts
        self.game = RolloutGame(
            facts.edges,
            facts.mean_rollouts,
            facts.min_rollouts,
            facts.max_rollouts,
            self.utility,
            self.arm_eta,
            self.arm_gamma,
            self.arm_ema,
            0.05 if self.price_step is None else self.price_step,
            10.0 if self.price_limit is None else self.price_limit,
        )

    def allocate(self, batch: Batch) -> Allocation:
        share = bin_shares(batch.belief.bins, self.facts.bins)
        demand, price = self.game.demand(share, batch.weights if self.coupled else None)
        asked = demand
        if self.utility == "surrogate":
            asked = self.game.draw(share, uniforms(self.facts.bins, self.facts.seed, batch.number))
        return Allocation(self.by_bin(asked, batch), demand, price)

    def update(self, outcome: Outcome, before: Belief) -> None:
        seen = outcome.bins != UNSEEN
        if self.utility == "surrogate" and seen.any():
            demand = float(outcome.plan.demand[outcome.bins[seen]].mean())
            self.game.move_price(demand, outcome.waiting)
        self.game.observe_variance(outcome.bins, outcome.squares, outcome.counts, before.rate)

    def update_losses(self, batch: Pending, losses: Floats) -> None:
        if self.utility == "surrogate":
            self.game.observe_losses(batch.bins, batch.rollouts, losses)

    def state_dict(self) -> State:
        return self.game.state_dict()

    def load_state_dict(self, state: State) -> None:
        self.game.load_state_dict(state)


@dataclass(kw_only=True, eq=False)
class SqrtLaw(RaggedAllocator):
    """The square-root law in closed form: n_b proportional to sqrt(v_b) (eqs. 28-31; Neyman, 1934).

    What Rollout-GDRO with utility `variance` converges to, without arms and price.

    Attributes:
        ema: weight of the newest observation in each bin's variance.
    """

    ema: float = 0.4

    name: ClassVar[str] = "sqrt_law"

    def start(self) -> None:
        self.require(
            0.0 < self.ema <= 1.0,
            "ema",
            "must lie in (0, 1]; it is the weight of the newest variance",
        )
        centre = bin_centres(self.facts.edges)
        self.state = {"variance": centre * (1.0 - centre)}

    def allocate(self, batch: Batch) -> Allocation:
        share, mean = bin_shares(batch.belief.bins, self.facts.bins), self.facts.mean_rollouts
        variance = self.state["variance"]
        if batch.weights is not None:
            variance = variance * batch.weights**2
        demand = (
            sqrt_law(share, variance, mean)
            if share.any()
            else np.full(self.facts.bins, float(mean))
        )
        return Allocation(self.by_bin(demand, batch), demand)

    def update(self, outcome: Outcome, before: Belief) -> None:
        newest = newest_variance(
            outcome.bins, outcome.squares, outcome.counts, before.rate, self.facts.bins
        )
        self.state["variance"] = moving_average(self.state["variance"], newest, self.ema)


@dataclass(kw_only=True, eq=False)
class LiveGroups(RaggedAllocator):
    """The plan with the largest expected number of groups with a gradient, of all plans with that
    total.

    Greedy, optimal since the chance of a live group is concave in n
    (`gdro.core.belief.live_gains`). A prompt solved half of the time hardly gains from a fourth
    rollout; one that is solved seldom does.
    """

    name: ClassVar[str] = "live_groups"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({BETA})

    def allocate(self, batch: Batch) -> Allocation:
        seen = np.flatnonzero(batch.belief.bins != UNSEEN)
        a, b = (part[seen] for part in batch.belief.beta)
        gains = live_gains(a, b, self.facts.min_rollouts, self.facts.max_rollouts)
        return Allocation(self.by_gain(gains, seen, batch))


@dataclass(kw_only=True, eq=False)
class RandomRagged(RaggedAllocator):
    """Negative control, ragged like the informed methods and informed of nothing: what beats
    uniform must beat this too.

    Demands are independent exponential variables of (seed, step, prompt id), i.e. the budget is cut
    at uniformly random places before the bounds apply.
    """

    name: ClassVar[str] = "random_ragged"

    def allocate(self, batch: Batch) -> Allocation:
        seen = np.flatnonzero(batch.belief.bins != UNSEEN)
        wanted = exponentials(step_keys(batch.keys[seen], self.facts.seed, 1))
        return Allocation(self.by_demand(wanted, seen, batch))
