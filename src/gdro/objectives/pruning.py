"""Pruning by chance with the right weights: DPPO (arXiv 2603.04135) and PPS; and CPPO beside them.

Rollouts of small |A| add little to the gradient. DPPO leaves some of them out and multiplies those
that stay by 1 / (1 - P), P the chance of being left out: the mean gradient is that of all rollouts
(without KL term and clipping) [P]. The same for whole prompts, before they are generated, by the
mean |A| of their past visits; both weights multiply [P].

The draw is `gdro.core.pruning`, the prompt level the selector `dppo` of the controllers.

How P and the draw are made was not to be had from the paper; ours [M]: P = `prune` below the mean
score and 0 else, a prompt never seen is not pruned, and nothing is pruned in the last eighth of a
run, as in InfoBatch [C]. Designs of the draw:

- `systematic`: fixed size (to within one), inclusion probabilities exactly 1 - P;
- `bernoulli`: a coin for each, size varies;
- `deterministic`: the lowest go, the rest is weighted as if by chance. Biased; for comparison.

A rollout with A = 0 has no gradient: leaving it out is exact, needs no weight, and is always done.
PPS keeps a rollout with a chance proportional to |A| [M]: where the squared length of a rollout's
gradient and its cost both grow with its tokens, no other chances give less noise for the same
expected tokens, since the tokens cancel: keep ~ sqrt(A^2 T / T) = |A| (docs/objectives.md).
CPPO keeps each prompt's rollouts of largest |A| without a correction [C]. Biased, as published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gdro.core.errors import OptionError
from gdro.core.hashing import step_keys
from gdro.core.pruning import (
    DESIGNS,
    Design,
    check_prune,
    draw,
    keep_probabilities,
    proportional_probabilities,
)
from gdro.core.types import Floats
from gdro.objectives.rules import Rollouts, RowRule, Ruled


@dataclass(frozen=True, slots=True)
class DPPO(RowRule):
    """Prune rollouts of small absolute advantage before the update, at random and without bias.

    Attributes:
        prune: P of a live rollout whose |A| is below the mean |A| of the live ones, in [0, .9].
        design: how they are drawn (module docstring).
        unpruned_share: last share of the run in which nothing is pruned, in [0, 1].

    Raises:
        OptionError: a value out of range.
    """

    prune: float = 0.5
    design: Design = "systematic"
    unpruned_share: float = 0.125

    def __post_init__(self) -> None:
        check_prune(self.prune)
        if self.design not in DESIGNS:
            raise OptionError(f"design={self.design!r}: choose one of {', '.join(DESIGNS)}")
        if not 0.0 <= self.unpruned_share <= 1.0:
            raise OptionError(f"unpruned_share={self.unpruned_share!r}: it must lie in [0, 1]")

    def weigh(self, advantages: Floats, rollouts: Rollouts) -> Ruled:
        """Advantages of the kept rollouts times 1 / (1 - P), and 0 for the others."""
        size = np.abs(advantages)
        live = size > 0.0
        keep = np.ones(len(size))
        if rollouts.progress < 1.0 - self.unpruned_share:
            keep[live] = keep_probabilities(size[live], self.prune)
        kept = draw(
            keep, rollouts.keys("gdro/dppo"), rollouts.seed, rollouts.step, self.design, size
        )
        kept &= live
        pruned = np.where(kept, advantages / keep, 0.0)
        return Ruled(pruned, _metrics(advantages, pruned))


@dataclass(frozen=True, slots=True)
class PPS(RowRule):
    """Keep a rollout, or all of a prompt's, with probability proportional to size: an update by
    importance.

    The size of a rollout is |A|, that of a prompt the root of the sum of its A^2. All that is kept
    by chance enters at one and the same size, the threshold tau; what is above it is always kept
    and unchanged.

    Attributes:
        prune: share of the units with an advantage that is left out on average, in [0, .9]; None:
            as many as adds little noise, by how unequal the sizes are
            (`gdro.core.pruning.proportional_probabilities`), none where all are equal.
        unit: `prompt` saves reading the prompt too, and keeps what a group compares together;
            with GRPO's standardised advantages all live prompts are of one size.

    Raises:
        OptionError: a value out of range.
    """

    prune: float | None = None
    unit: Literal["rollout", "prompt"] = "rollout"

    def __post_init__(self) -> None:
        if self.prune is not None:
            check_prune(self.prune)
        if self.unit not in ("rollout", "prompt"):
            raise OptionError(f"unit={self.unit!r}: choose one of rollout, prompt")

    def weigh(self, advantages: Floats, rollouts: Rollouts) -> Ruled:
        """Advantages of the kept rollouts divided by their chances, and 0 for the others."""
        live, keys = advantages != 0.0, rollouts.keys("gdro/pps")
        of = first = np.arange(len(advantages))
        if self.unit == "prompt":
            _, first, of = np.unique(rollouts.groups, return_index=True, return_inverse=True)
        size = np.sqrt(np.bincount(of, np.square(advantages), len(first)))
        chances = np.where(size > 0.0, proportional_probabilities(size, self.prune), 1.0)
        kept = draw(chances, keys[first], rollouts.seed, rollouts.step)[of] & live
        keep = chances[of]
        pruned = np.where(kept, advantages / keep, 0.0)
        squares = np.square(advantages)
        total = float(squares.sum())
        added = float((squares * (1.0 / keep - 1.0)).sum()) / total if total else 0.0
        return Ruled(pruned, _metrics(advantages, pruned) | {"added_noise": added})


@dataclass(frozen=True, slots=True)
class CPPO(RowRule):
    """Keep each prompt's rollouts of largest absolute advantage, uncorrected.

    Attributes:
        prune: share of each prompt's rollouts to leave out, rounded down, in [0, .9].

    Raises:
        OptionError: a value out of range.
    """

    prune: float = 0.5

    def __post_init__(self) -> None:
        check_prune(self.prune)

    def weigh(self, advantages: Floats, rollouts: Rollouts) -> Ruled:
        """Advantages of the kept rollouts, and 0 for the others; ties fall by chance."""
        keys = step_keys(rollouts.keys("gdro/cppo"), rollouts.seed, rollouts.step)
        order = np.lexsort((keys, -np.abs(advantages), rollouts.groups))
        sizes = np.bincount(rollouts.groups, minlength=len(rollouts.prompt_ids))
        starts = np.cumsum(sizes) - sizes
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order)) - starts[rollouts.groups[order]]
        stays = sizes - np.floor(self.prune * sizes + 1e-9).astype(np.int64)
        pruned = np.where(rank < stays[rollouts.groups], advantages, 0.0)
        return Ruled(pruned, _metrics(advantages, pruned))


def _metrics(before: Floats, after: Floats) -> dict[str, float]:
    live, rows = before != 0.0, max(len(before), 1)
    return {
        "rollouts_without_advantage": float((~live).sum()) / rows,
        "rollouts_pruned": float((live & (after == 0.0)).sum()) / rows,
        "rollouts_trained": float((after != 0.0).sum()) / rows,
    }
