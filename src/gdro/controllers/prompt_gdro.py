"""Prompt-GDRO: a data adversary scales the advantages of each difficulty bin (arXiv 2601.19280, eqs. 12-16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gdro.controllers.base import Controller
from gdro.core.adversaries import AdversaryName, EmaHedge, make_adversary
from gdro.core.outcome import Outcome, Pending
from gdro.core.prompt_game import PromptGame, Weights
from gdro.core.signals import Signal
from gdro.core.state import State, read_state
from gdro.core.types import Floats, Metric


@dataclass(kw_only=True, eq=False)
class PromptGDRO(Controller):
    """Hard bins weigh more; rollouts stay uniform.

    With the failure signal the weight of a bin with pass rate p tends to exp(eta (1 - p)), rescaled: eta = 0 optimises
    the mean reward, eta = k - 1 about pass@k, eta -> infinity the worst bin.

    Attributes:
        signal: failure, variance or surrogate (see gdro.core.signals).
        adversary: ema_hedge, hedge, exp3p or tsallis_inf (see gdro.core.adversaries for their guarantees).
        eta: rate of ema_hedge.
        gamma: uniform mixing of q (eq. 15).
        beta: weight of the newest signal in the score of ema_hedge (eq. 12).
        clip: C of eq. 14.
        weights: omega (eq. 16), mean_one or mean_one_live (see gdro.core.prompt_game).
        omega_max: cap of eq. 16.
        share_floor: divide each bin's signal by its share of the batch, at least this; None to leave it as is.
        horizon: steps that exp3p tunes itself for.
    """

    signal: Signal = "failure"
    adversary: AdversaryName = "ema_hedge"
    eta: float = 3.0
    gamma: float = 0.01
    beta: float = 0.12
    clip: float = 10.0
    weights: Weights = "mean_one_live"
    omega_max: float = 15.0
    share_floor: float | None = None
    horizon: int = 1000

    name: ClassVar[str] = "prompt_gdro"

    def __post_init__(self) -> None:
        super().__post_init__()
        learner = make_adversary(
            self.adversary, self.bins, self.eta, self.gamma, self.beta, self.clip, self.seed, self.horizon
        )
        self.prompt_game = PromptGame(self.bins, learner, self.signal, self.weights, self.omega_max, self.share_floor)

    @property
    def needs_losses(self) -> bool:
        return self.signal == "surrogate" or super().needs_losses

    def _weigh(self, outcome: Outcome) -> Floats:
        return self.prompt_game.play(outcome)

    def _learn_losses(self, batch: Pending, losses: Floats) -> None:
        super()._learn_losses(batch, losses)
        if self.signal == "surrogate":
            self.prompt_game.learn(batch.bins, losses)

    def _method_metrics(self) -> dict[str, Metric]:
        learner = self.prompt_game.adversary
        score: dict[str, Metric] = {"score": learner.score.tolist()} if isinstance(learner, EmaHedge) else {}
        return super()._method_metrics() | self.prompt_game.metrics() | score

    def _state(self) -> State:
        return super()._state() | {"prompt_game": self.prompt_game.state_dict()}

    def _load_state(self, state: State) -> None:
        super()._load_state(state)
        self.prompt_game.load_state_dict(read_state(state, "prompt_game"))
