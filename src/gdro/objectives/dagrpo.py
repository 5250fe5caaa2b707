"""DaGRPO, Distinctiveness-aware GRPO (arXiv 2512.06337), after its abstract; the formulas are ours.

The abstract [P]: pairs of rollouts that hardly differ give conflicting gradients and are masked by
a fine-grained score; for hard questions, off-policy anchors restore a training signal. Ours [M]:

- a fine score f in [0, 1] for each rollout, a verifier's partial credit or a function of one's own;
- a pair (right, wrong) of one question is distinct if f(right) - f(wrong) >= d_min; a rollout in no
  distinct pair is left out, and advantages are taken again among the others;
- where no rollout is right and the data hold a solution, that solution stands in the place of the
  question's last rollout (the batch keeps its size). Its ratio has no old probability and is shaped
  as in LUFFY, pi / (pi + 0.1), without clipping [C];
- `anchor_loss: likelihood` takes log pi for the ratio, so that an anchor is a step of supervised
  fine-tuning on the same solution at the same moment: the control for what the shape adds;
- `anchor_stats`: `on_policy` takes mean and deviation from the policy's own rollouts: all are
  wrong, so they have advantage exactly 0 and the anchor, distinct or not, has 1. `all` counts the
  anchor in, where a rollout is distinct from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from gdro.core.errors import OptionError
from gdro.core.signals import ROUNDING
from gdro.core.types import Bools, Floats, Ints
from gdro.objectives.rows import ObjectiveError
from gdro.objectives.rules import Rollouts, RowRule

AnchorStats = Literal["on_policy", "all"]
AnchorLoss = Literal["shaped", "likelihood"]
FINE, ANCHOR = "fine", "anchor"
"""Columns of `Rollouts`: the fine score; 1 for an anchor."""
SHAPE = 0.1


@dataclass(frozen=True, slots=True)
class DaGRPO(RowRule):
    """Mask what is not distinct; learn from a stored solution where nothing is right.

    Attributes:
        d_min: least f(right) - f(wrong) of a distinct pair, in [0, 1]; 0 masks no rollout of a
            question with right and wrong ones of rising f, but those of all others; None: no mask.
        fine: name of the reward function that answers f; None: the reward is f.
        anchors: name of the data column with a solution's text (empty or None: no anchor); None:
            no anchors.
        anchor_stats: `on_policy` or `all` (module docstring).
        anchor_loss: `shaped` or `likelihood` (module docstring).
        threshold: a rollout is right if its reward is above it.

    Raises:
        OptionError: a value out of range.
    """

    d_min: float | None = 0.25
    fine: str | None = None
    anchors: str | None = None
    anchor_stats: AnchorStats = "on_policy"
    anchor_loss: AnchorLoss = "shaped"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.d_min is not None and not 0.0 <= self.d_min <= 1.0:
            raise OptionError(f"d_min={self.d_min!r}: it must lie in [0, 1], or be null: no mask")
        if self.anchor_stats not in ("on_policy", "all"):
            raise OptionError(f"anchor_stats={self.anchor_stats!r}: choose on_policy or all")
        if self.anchor_loss not in ("shaped", "likelihood"):
            raise OptionError(f"anchor_loss={self.anchor_loss!r}: choose shaped or likelihood")
        if not math.isfinite(self.threshold):
            raise OptionError(f"threshold={self.threshold!r}: it must be a finite reward")
        if self.anchors is not None and self.threshold >= 1.0:
            raise OptionError(
                f"threshold={self.threshold!r}: an anchor, whose reward is 1, must pass"
            )

    def with_anchors(self, rollouts: Rollouts, has_anchor: Bools) -> Rollouts:
        """The rollouts with anchors in place of the last rollout of each question that has one and
        no right rollout. An anchor has reward 1, fine score 1 and 1 in the column `anchor`.

        Args:
            has_anchor: (M,) the data hold a solution of this prompt.
        """
        right = np.zeros(len(rollouts.prompt_ids), dtype=np.bool_)
        np.logical_or.at(right, rollouts.groups, rollouts.rewards > self.threshold)
        last = np.full(len(right), -1)
        np.maximum.at(last, rollouts.groups, np.arange(len(rollouts.groups)))
        rows = last[has_anchor & ~right & (last >= 0)]
        anchor, rewards = np.zeros(len(rollouts.rewards)), rollouts.rewards.copy()
        anchor[rows], rewards[rows] = 1.0, 1.0
        columns = {**rollouts.columns, ANCHOR: anchor}
        if FINE in columns:
            columns[FINE] = np.where(anchor > 0.0, 1.0, columns[FINE])
        return replace(rollouts, rewards=rewards, columns=columns)

    def admits(self, rollouts: Rollouts) -> Bools:
        """(R,) rollouts that lie in a distinct pair; all without a `d_min`.

        Raises:
            ObjectiveError: a fine score outside [0, 1] or NaN; names the prompt.
        """
        fine = rollouts.columns.get(FINE, rollouts.rewards)
        # A weighted sum in float32 may end just beyond 1.
        bad = np.flatnonzero(~((fine >= -ROUNDING) & (fine <= 1.0 + ROUNDING)))
        if bad.size:
            name, value = rollouts.name(int(bad[0])), fine[bad[0]]
            rest = f"{self.fine!r} must answer numbers in [0, 1]"
            if self.fine is None:
                rest = "the reward stands for it; name a function that answers [0, 1] with `fine`"
            raise ObjectiveError(f"fine score of a rollout of prompt {name!r} is {value}; {rest}")
        if self.d_min is None:
            return np.ones(len(fine), dtype=np.bool_)
        return distinct(fine, rollouts.rewards > self.threshold, rollouts.groups, self.d_min)

    def gain(self, logp: torch.Tensor) -> torch.Tensor:
        """What an anchor's tokens maximise, from log pi, any shape."""
        return logp if self.anchor_loss == "likelihood" else shaped_ratio(logp)

    def settle(self, advantages: Floats, rollouts: Rollouts) -> Floats:
        """With `on_policy`, 1 for an anchor and 0 for the other rollouts of its question."""
        anchor = rollouts.columns.get(ANCHOR)
        if anchor is None or self.anchor_stats == "all":
            return advantages
        anchored = np.zeros(len(rollouts.prompt_ids), dtype=np.bool_)
        anchored[rollouts.groups[anchor > 0.0]] = True
        return np.where(anchored[rollouts.groups], anchor, advantages)


def distinct(fine: Floats, right: Bools, groups: Ints, d_min: float) -> Bools:
    """(R,) rollouts in a pair (right, wrong) of one group with f(right) - f(wrong) >= d_min.

    Args:
        fine: (R,) scores.
        right: (R,) right or wrong.
        groups: (R,) whole numbers from 0.
    """
    if not len(groups):
        return np.zeros(0, dtype=np.bool_)
    count = int(groups.max()) + 1
    best, least = np.full(count, -np.inf), np.full(count, np.inf)
    np.maximum.at(best, groups[right], fine[right])
    np.minimum.at(least, groups[~right], fine[~right])
    # Scores are written in decimals: .75 - .5 must reach a d_min of .25 for .8 - .55 as well.
    reach = d_min - 1e-9
    return np.where(right, fine - least[groups] >= reach, best[groups] - fine >= reach)


def shaped_ratio(logp: torch.Tensor) -> torch.Tensor:
    """pi / (pi + 0.1) from log pi, any shape: what stands for pi / pi_old on an anchor's tokens."""
    return torch.sigmoid(logp - math.log(SHAPE))


def check_anchor(tokens: int, limit: int, prompt_id: str) -> None:
    """Raises ObjectiveError if a solution is empty or longer than a completion may be."""
    if not 1 <= tokens <= limit:
        raise ObjectiveError(
            f"the anchor of prompt {prompt_id!r} has {tokens} tokens, not 1 to {limit}; "
            "shorten or remove that solution, or raise max_completion_length"
        )
