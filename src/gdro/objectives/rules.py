"""Rules between rewards and loss: which rollouts are compared, and at what weight they enter.

A rule is a pure function of what all processes know after the rewards, so nothing of it needs to be
saved and every process finds the same answer. A rollout with advantage 0 is left out of the
training pass wherever that is exact; so a rule saves time by answering 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from gdro.core.errors import OptionError, PromptIdError, RewardError
from gdro.core.hashing import Keys, mix, prompt_key
from gdro.core.types import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Rollouts:
    """What a rule sees: R rollouts of M prompts, over all processes, and where the run stands.

    Attributes:
        rewards: (R,) finite.
        groups: (R,) int64, the place of each rollout's prompt in `prompt_ids`.
        prompt_ids: (M,) distinct ids.
        seed: the run's seed.
        step: number of the generation batch.
        progress: share of the run that is done, in [0, 1].
        columns: further (R,) numbers by name, such as a fine score.
    """

    rewards: Floats
    groups: Ints
    prompt_ids: tuple[str, ...]
    seed: int = 0
    step: int = 0
    progress: float = 0.0
    columns: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.prompt_ids)) != len(self.prompt_ids):
            raise PromptIdError("a prompt id occurs twice; rollouts of one prompt share one place")
        if self.groups.shape != self.rewards.shape:
            raise RewardError(f"{len(self.rewards)} rewards for {len(self.groups)} rollouts")
        known = len(self.prompt_ids)
        if len(self.groups) and not 0 <= self.groups.min() <= self.groups.max() < known:
            raise PromptIdError(f"a rollout's prompt is none of the {known} given")
        bad = np.flatnonzero(~np.isfinite(self.rewards))
        if bad.size:
            raise RewardError(
                f"reward of a rollout of prompt {self.name(int(bad[0]))!r} is "
                f"{self.rewards[bad[0]]}; it must be a finite number"
            )
        if not 0.0 <= self.progress <= 1.0:
            raise OptionError(f"progress={self.progress}: it is a share of the run, in [0, 1]")

    def name(self, row: int) -> str:
        """The prompt id of a rollout."""
        return self.prompt_ids[int(self.groups[row])]

    def keys(self, salt: str) -> Keys:
        """(R,) 64 bits of each rollout, from its prompt's id and its place among that prompt's own
        rollouts: the same wherever the prompt lies in the batch."""
        own = np.array([prompt_key(prompt_id) for prompt_id in self.prompt_ids], dtype=np.uint64)
        with np.errstate(over="ignore"):
            place = (self.places() + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            return mix(own[self.groups] ^ mix(place ^ np.uint64(prompt_key(salt))))

    def places(self) -> Ints:
        """(R,) the place of each rollout among those of its prompt, 0, 1, ..."""
        order = np.argsort(self.groups, kind="stable")
        sizes = np.bincount(self.groups, minlength=len(self.prompt_ids))
        starts = np.cumsum(sizes) - sizes
        places = np.empty(len(order), dtype=np.int64)
        places[order] = np.arange(len(order)) - starts[self.groups[order]]
        return places


@dataclass(frozen=True, slots=True)
class Ruled:
    """A rule's answer.

    Attributes:
        advantages: (R,) as they enter the loss; 0 for a rollout that is left out.
        metrics: numbers for a log, by name.
    """

    advantages: Floats
    metrics: dict[str, float]


class RowRule:
    """A rule that changes nothing; a method overrides the questions that it has an answer to."""

    def admits(self, rollouts: Rollouts) -> Bools:
        """(R,) which rollouts take part: advantages are taken among them, the others have 0."""
        return np.ones(len(rollouts.rewards), dtype=np.bool_)

    def settle(self, advantages: Floats, rollouts: Rollouts) -> Floats:
        """(R,) advantages of the comparison, before the controller's weights."""
        return advantages

    def weigh(self, advantages: Floats, rollouts: Rollouts) -> Ruled:
        """From (R,) advantages with the controller's weights to those of the loss."""
        return Ruled(advantages, {})


def ruled_advantages(
    rule: RowRule,
    rollouts: Rollouts,
    compare: Callable[[Floats, Ints], Floats],
    scale: Floats,
) -> Ruled:
    """The advantages of the loss: admit, compare, settle, weigh.

    Args:
        compare: from the rewards and groups of the admitted rollouts to their advantages.
        scale: (M,) factor of each prompt's advantages, the controller's weight in it.
    """
    admitted = rule.admits(rollouts)
    advantages = np.zeros(len(admitted))
    if bool(admitted.any()):
        advantages[admitted] = compare(rollouts.rewards[admitted], rollouts.groups[admitted])
    settled = rule.settle(advantages, rollouts)
    ruled = rule.weigh(settled * scale[rollouts.groups], rollouts)
    masked = {"rollouts_masked": float((~admitted).mean())} if not bool(admitted.all()) else {}
    return Ruled(ruled.advantages, masked | ruled.metrics)
