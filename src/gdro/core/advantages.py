"""Group advantages for ragged rollout groups, each prompt against its own mean, never by position
in a grid.

- `grpo`: (r - mean) / (std + epsilon), eq. 3; `ddof` 0 is the paper's population std, 1 what TRL
  and verl compute.
- `dr_grpo`: r - mean (Liu et al., arXiv 2503.20783).
- `rloo`: r minus the mean of the OTHER rollouts of the prompt (Ahmadian et al., arXiv 2402.14740).

A prompt with one rollout, or with equal rewards, has advantage exactly 0: it has nothing to be
compared with, unless a controller gives it a baseline from elsewhere (`Feedback.baselines`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.errors import OptionError, RewardError
from gdro.core.ragged import Ragged, flat_numbers, from_rewards
from gdro.core.types import Feedback, Floats, Ints, Rewards

AdvantageKind = Literal["grpo", "dr_grpo", "rloo"]
ADVANTAGES: tuple[AdvantageKind, ...] = ("grpo", "dr_grpo", "rloo")


def group_advantages(
    rewards: Rewards,
    kind: AdvantageKind = "grpo",
    *,
    epsilon: float = 1e-4,
    ddof: int = 0,
    clip: float | None = None,
    feedback: Feedback | None = None,
) -> list[Floats]:
    """Advantages of ragged rewards, one array a prompt; with a controller's feedback, those to
    train on.

    Args:
        rewards: M sequences, the n_i rewards of each prompt.
        kind: `grpo`, `dr_grpo` or `rloo` (module docstring).
        epsilon: added to the std of `grpo`; finite and >= 0.
        ddof: 0 for the population std, 1 for the sample std.
        clip: advantages are clipped to [-clip, clip] (the paper: 5); clipped groups need no longer
            sum to 0.
        feedback: what `Controller.observe` answered to these rewards, in the same order. Each
            prompt's advantages are multiplied by its weight (eq. 16), after `clip`. Where the
            controller sets baselines, they stand for `kind`,
            `epsilon` and `ddof`: (r - baseline) / deviation.

    Raises:
        RewardError: names the prompt, or the place of a group, that is empty or holds something
            other than finite numbers; or says how many groups came for how many prompts of the
            feedback.
        OptionError: an unknown kind, an epsilon, ddof or clip out of range, or something else for
            feedback.
    """
    if feedback is not None and not isinstance(feedback, Feedback):
        raise OptionError(
            f"feedback is a {type(feedback).__name__}; give what Controller.observe answered"
        )
    names = (
        [f"number {place}" for place in range(len(rewards))]
        if feedback is None
        else feedback.prompt_ids
    )
    if not names:
        return []
    groups = from_rewards(names, rewards)
    advantages = _advantages(groups, kind, epsilon, ddof, clip)
    if feedback is None:
        return groups.map(advantages).split()
    own = feedback.own_advantages(
        groups.values, np.repeat(np.arange(len(names)), groups.counts), clip
    )
    return groups.map(
        (advantages if own is None else own) * groups.spread(feedback.weights)
    ).split()


def flat_advantages(
    rewards: ArrayLike,
    prompt_ids: Sequence[Hashable] | np.ndarray,
    kind: AdvantageKind = "grpo",
    *,
    epsilon: float = 1e-4,
    ddof: int = 0,
    clip: float | None = None,
) -> Floats:
    """(R,) advantages of rows in any order; rows with the same prompt id form a group.

    Args:
        rewards: (R,) one reward a row.
        prompt_ids: (R,) the prompt of each row: ids, or integers.

    Raises:
        RewardError, OptionError: as `group_advantages`.
    """
    if not len(prompt_ids) and not np.size(rewards):
        return np.empty(0)
    values = flat_numbers("the list of rewards", rewards)
    if len(values) != len(prompt_ids):
        raise RewardError(
            f"{len(prompt_ids)} prompt ids for {len(values)} rewards; give one id a row"
        )
    names, group = _numbered(prompt_ids)
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    rows = np.split(values[order], np.cumsum(counts)[:-1])
    groups = from_rewards(names, rows)
    result = np.empty(len(values))
    result[order] = _advantages(groups, kind, epsilon, ddof, clip)
    return result


def _numbered(prompt_ids: Sequence[Hashable] | np.ndarray) -> tuple[list[str], Ints]:
    """The distinct prompts' names, and (R,) the number of each row's; equal is what compares equal
    in Python. Of a tensor, whose elements compare by identity, the numbers in it."""
    if not isinstance(prompt_ids, np.ndarray) and hasattr(prompt_ids, "tolist"):
        prompt_ids = prompt_ids.tolist()
    if isinstance(prompt_ids, np.ndarray) and prompt_ids.dtype.kind in "iu":
        numbers, group = np.unique(prompt_ids, return_inverse=True)
        return [str(number) for number in numbers], group
    places: dict[Hashable, int] = {}
    group = np.array([places.setdefault(prompt_id, len(places)) for prompt_id in prompt_ids])
    return [str(prompt_id) for prompt_id in places], group


def check_options(kind: str, ddof: int, clip: float | None, epsilon: float = 0.0) -> None:
    """Raises OptionError for an unknown kind, or an epsilon, ddof or clip out of range."""
    if kind not in ADVANTAGES:
        raise OptionError(f"advantage={kind!r} is none of {', '.join(ADVANTAGES)}")
    if clip is not None and not clip > 0.0:
        raise OptionError(f"advantage clip={clip} must be positive, or None for no clipping")
    if not (epsilon >= 0.0 and np.isfinite(epsilon)) or ddof not in (0, 1):
        raise OptionError(
            f"advantage epsilon={epsilon} must be finite and >= 0, ddof={ddof} 0 or 1"
        )


def _advantages(
    groups: Ragged, kind: AdvantageKind, epsilon: float, ddof: int, clip: float | None
) -> Floats:
    check_options(kind, ddof, clip, epsilon)
    centred = np.where(
        groups.spread(groups.constant()) > 0, 0.0, groups.values - groups.spread(groups.mean())
    )
    if kind == "grpo":
        spare = np.maximum(groups.counts - ddof, 1)
        deviation = np.sqrt(groups.sum_of_squares() / spare) + epsilon
        centred = centred / groups.spread(np.where(deviation > 0.0, deviation, 1.0))
    elif kind == "rloo":
        centred = centred * groups.spread(groups.counts / np.maximum(groups.counts - 1, 1))
    return centred if clip is None else np.clip(centred, -clip, clip)
