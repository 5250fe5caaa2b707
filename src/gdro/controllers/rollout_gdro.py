"""Rollout-GDRO: a compute adversary gives each bin's prompts their own number of rollouts under an exact mean budget,
steered by a shadow price (arXiv 2601.19280, eqs. 17-21)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gdro.controllers.base import Controller
from gdro.core.budget import exact_budget
from gdro.core.hashing import Keys, uniforms
from gdro.core.outcome import Outcome, Pending
from gdro.core.shadow_price import RolloutGame, Utility
from gdro.core.signals import bin_shares
from gdro.core.state import State, read_state
from gdro.core.types import UNSEEN, Floats, Ints, Metric


@dataclass(kw_only=True, eq=False)
class RolloutGDRO(Controller):
    """Rollouts go where they lower the variance of the gradient most; every weight stays 1.

    Attributes:
        utility: variance (the square-root law emerges) or surrogate (the paper's, eq. 18).
        arm_eta: rate of the exponential weights over the arms min_rollouts..max_rollouts.
        arm_gamma: uniform mixing over the arms.
        arm_ema: weight of the newest observation in the arms' estimates.
        price_step: alpha_mu of eq. 21 at nbar = 4 and without delay (see gdro.core.shadow_price).
        price_limit: the price stays in [-price_limit, price_limit].
    """

    utility: Utility = "variance"
    arm_eta: float = 16.0
    arm_gamma: float = 0.01
    arm_ema: float = 0.4
    price_step: float = 0.05
    price_limit: float = 10.0

    name: ClassVar[str] = "rollout_gdro"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rollout_game = RolloutGame(
            self.edges,
            self.mean_rollouts,
            self.min_rollouts,
            self.max_rollouts,
            self.utility,
            self.arm_eta,
            self.arm_gamma,
            self.arm_ema,
            self.price_step,
            self.price_limit,
        )

    @property
    def needs_losses(self) -> bool:
        return self.utility == "surrogate" or super().needs_losses

    def _gradient_weights(self) -> Floats | None:
        """(B,) weights that multiply the bins' gradients, known before the batch; None where all are 1."""
        return None

    def _allocate(self, ids: tuple[str, ...], rows: Ints, bins: Ints, keys: Keys) -> tuple[Ints, Floats]:
        share = bin_shares(bins, self.bins)
        demand = asked = self.rollout_game.demand(share, self._gradient_weights())
        if self.utility == "surrogate":
            asked = self.rollout_game.draw(share, uniforms(self.bins, self.seed, self.plans_made))
        return spread_over_seen(asked, bins, keys, self.mean_rollouts, self.min_rollouts, self.max_rollouts), demand

    def _learn(self, outcome: Outcome) -> None:
        super()._learn(outcome)
        seen = outcome.bins != UNSEEN
        if seen.any():
            demand = float(outcome.plan.demand[outcome.bins[seen]].mean())
            self.rollout_game.move_price(demand, len(self._outstanding))
        self.rollout_game.observe_variance(outcome.bins, outcome.squares, outcome.unit.counts)

    def _learn_losses(self, batch: Pending, losses: Floats) -> None:
        super()._learn_losses(batch, losses)
        if self.utility == "surrogate":
            self.rollout_game.observe_losses(batch.bins, batch.rollouts, losses)

    def _method_metrics(self) -> dict[str, Metric]:
        return super()._method_metrics() | {"shadow_price": self.rollout_game.price}

    def _state(self) -> State:
        return super()._state() | {"rollout_game": self.rollout_game.state_dict()}

    def _load_state(self, state: State) -> None:
        super()._load_state(state)
        self.rollout_game.load_state_dict(read_state(state, "rollout_game"))


def spread_over_seen(demand: Floats, bins: Ints, keys: Keys, mean: int, low: int, high: int) -> Ints:
    """(M,) exact rollouts: nbar for each UNSEEN prompt, the bins' demand (B,) made exact over the others."""
    rollouts = np.full(len(bins), mean)
    seen = bins != UNSEEN
    if seen.any():
        rollouts[seen] = exact_budget(demand[bins[seen]], mean * int(seen.sum()), low, high, keys[seen])
    return rollouts
