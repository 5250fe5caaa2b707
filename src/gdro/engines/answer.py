"""What the rewards of a batch were answered with, and the advantages that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.advantages import AdvantageKind, flat_advantages
from gdro.core.types import Feedback, Floats, Ints, Plan


@dataclass(frozen=True, slots=True)
class Answer:
    """What the rewards of a batch of M prompts were answered with.

    Attributes:
        prompt_ids: (M,) in the order of the plan.
        counts: (M,) rewards that came.
        weights: (M,) the controller's; 1 for a prompt it learned nothing of.
        factors: (M,) of the advantages: the weights, and with weighting `prompt` nbar / n_i.
        feedback: what own baselines come from; None where there are none.
        learned: whether the controller took the batch in.
    """

    prompt_ids: tuple[str, ...]
    counts: Ints
    weights: Floats
    factors: Floats
    feedback: Feedback | None
    learned: bool

    def own_advantages(
        self, rewards: ArrayLike, places: Ints, kind: str = "grpo", clip: float | None = None
    ) -> Floats | None:
        """(R,) unweighted advantages against the controller's own baselines; None without them.

        Args:
            rewards: (R,) of rollouts, in any order.
            places: (R,) for each the place of its prompt in `prompt_ids`.
            kind: grpo divides by the controller's deviations, anything else leaves r - baseline.
            clip: bound on the absolute advantage, above 0, or None.
        """
        feedback = self.feedback
        if feedback is None or feedback.baselines is None:
            return None
        if kind != "grpo":
            feedback = replace(feedback, deviations=np.ones(len(self.counts)))
        return feedback.own_advantages(rewards, places, clip)

    def advantages(
        self,
        rewards: ArrayLike,
        places: Ints,
        kind: AdvantageKind = "grpo",
        *,
        epsilon: float = 1e-4,
        ddof: int = 0,
        clip: float | None = None,
    ) -> Floats:
        """(R,) unweighted advantages of scored rollouts: the controller's own, or by group.

        Args:
            rewards, places, clip: as in `own_advantages`.
            kind, epsilon, ddof: as in `gdro.flat_advantages`.
        """
        own = self.own_advantages(rewards, places, kind, clip)
        if own is not None:
            return own
        return flat_advantages(rewards, places, kind, epsilon=epsilon, ddof=ddof, clip=clip)


def to_whole_plan(feedback: Feedback, plan: Plan, kept: Ints) -> Feedback:
    """Feedback to some prompts of a plan as feedback to all; the others, which have no rollout,
    weigh 1."""

    def all_of(values: Floats, other: float) -> Floats:
        out = np.full(len(plan.prompt_ids), other)
        out[kept] = values
        return out

    baselines, deviations = feedback.baselines, feedback.deviations
    return Feedback(
        plan.prompt_ids,
        all_of(feedback.weights, 1.0),
        plan.bins,
        None if baselines is None else all_of(baselines, 0.0),
        None if deviations is None else all_of(deviations, 1.0),
    )
