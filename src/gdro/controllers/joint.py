"""Both games on one classifier: the data adversary's weights and the compute adversary's rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gdro.controllers.prompt_gdro import PromptGDRO
from gdro.controllers.rollout_gdro import RolloutGDRO
from gdro.core.types import Floats


@dataclass(kw_only=True, eq=False)
class Joint(PromptGDRO, RolloutGDRO):
    """Prompt-GDRO and Rollout-GDRO together.

    Attributes:
        coupled: when prompt i's gradient weighs w_i and one of its rollouts has variance v_i, the variance of a batch
            is sum_i w_i^2 v_i / n_i, least at n_i proportional to w_i sqrt(v_i). True puts the weights into the
            compute adversary's law; False runs the games side by side, as two separate controllers would.
    """

    coupled: bool = True

    name: ClassVar[str] = "joint"

    def _gradient_weights(self) -> Floats | None:
        return self.prompt_game.bin_weights() if self.coupled else None
