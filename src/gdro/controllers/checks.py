"""What parts and users answer, checked where it is used: a wrong answer is an error, not a ruined
model.

A part may be code of somebody's own (docs/extending.md). A weight of NaN would train every
parameter to NaN, a negative one would turn the gradients round, and a plan of other sums would
spend another budget.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from gdro.controllers.part import BETA, Allocation, Estimator, Facts, Part
from gdro.core.belief import DECLARE_BETA
from gdro.core.errors import HookError, PlanError, RewardError
from gdro.core.outcome import Pending
from gdro.core.prompts import Prompts
from gdro.core.ragged import Ragged, flat_numbers
from gdro.core.types import Bools, Floats, Ints

LEAST_ROOM = 12
"""Least default of max_rollouts, which follows the mean, three times as many (the paper has 12)."""


def rollout_bounds(mean: int, low: int | None, high: int | None) -> tuple[int, int, str | None]:
    """The bounds of a prompt's rollouts with what is not given filled in, and what is wrong with
    their mean, if anything."""
    low = min(2, mean) if low is None else low
    high = max(3 * mean, LEAST_ROOM) if high is None else high
    wrong = None
    if not low <= mean <= high:
        bound = f"min_rollouts ({low}) or more" if mean < low else f"max_rollouts ({high}) or less"
        wrong = f"must be {bound}; change one of the two"
    return low, high, wrong


def check_count(m: object, candidates: int) -> None:
    """Raises PlanError unless m is a whole number from 1 to the number of candidates."""
    if isinstance(m, bool) or not isinstance(m, (int, np.integer)) or not 1 <= m <= candidates:
        raise PlanError(f"m={m!r} must be a whole number from 1 to the {candidates} candidates")


def check_counts(plan: Pending, rewards: Ragged) -> None:
    """Raises RewardError unless every planned rollout has a reward; names the first prompt."""
    wrong = np.flatnonzero(rewards.counts != plan.rollouts)
    if wrong.size:
        prompt = int(wrong[0])
        raise RewardError(
            f"prompt {plan.prompts.ids[prompt]!r} was planned {plan.rollouts[prompt]} rollouts"
            f" but has {rewards.counts[prompt]} rewards; score every rollout, or cancel the"
            " plan"
        )


def check_losses(prompts: Prompts, losses: ArrayLike) -> Floats:
    """(M,) finite losses. Raises RewardError."""
    values = flat_numbers("the list of losses", losses).astype(np.float64)
    if len(values) != len(prompts) or not np.isfinite(values).all():
        raise RewardError(
            f"losses must be {len(prompts)} finite numbers, one for each prompt id; got"
            f" {losses!r:.80}"
        )
    return values


def check_tokens(prompts: Prompts, tokens: ArrayLike) -> Floats:
    """(M,) finite numbers above 0, of planned prompts.

    Raises:
        RewardError: other tokens; names the first prompt at fault.
        PlanError: a prompt that was never planned; names the first.
    """
    values = flat_numbers("the list of tokens", tokens).astype(np.float64)
    if len(values) != len(prompts):
        raise RewardError(
            f"{len(values)} numbers of tokens for {len(prompts)} prompts; give each prompt the mean"
            " of its rollouts"
        )
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0.0)))
    if wrong.size:
        raise RewardError(
            f"prompt {prompts.ids[wrong[0]]!r} has rollouts of {values[wrong[0]]:g} tokens on"
            " average; give a finite number above 0, and leave out prompts without rollouts"
        )
    new = np.flatnonzero(prompts.rows < 0)
    if new.size:
        raise PlanError(
            f"prompt {prompts.ids[new[0]]!r} was never planned; call plan first, and observe_tokens"
            " with the ids of that batch"
        )
    return values


def report_outside(
    plan: Pending, rewards: Ragged, reward_range: tuple[float, float], baselines_of: str | None
) -> None:
    """Rewards lie outside the declared range: a warning, and an error where baselines follow from
    it (`baselines_of`, the controller's name).

    Raises:
        RewardError: names the prompt whose reward lies farthest outside.
    """
    low, high = reward_range
    what = "set the controller's option reward_range=(lowest, highest) to that of your rewards"
    if baselines_of is not None:
        row = int(np.argmax(np.maximum(low - rewards.values, rewards.values - high)))
        prompt = plan.prompts.ids[int(np.searchsorted(rewards.starts, row, side="right")) - 1]
        raise RewardError(
            f"prompt {prompt!r} has a reward of {rewards.values[row]:g}, outside"
            f" reward_range={reward_range}, by which {baselines_of!r} sets its baselines;"
            f" {what}, or baseline='group'"
        )
    warnings.warn(
        f"rewards outside reward_range={reward_range} count as its nearer end (metric"
        f" out_of_range); {what}",
        stacklevel=4,
    )


def check_rank(part: Part, ids: Sequence[str], rank: Floats) -> Floats:
    """(N,) ranks, none of them NaN.

    Raises:
        HookError: of another shape, or NaN; names the part and the first prompt at fault.
    """
    where = _where(part, "rank")
    values = _shaped(where, rank, (len(ids),), "one rank for each candidate")
    _all(part, where, ids, values, ~np.isnan(values), "ranks are numbers, the lowest first")
    return values


def check_allocation(part: Part, ids: Sequence[str], answer: Allocation, facts: Facts) -> Ints:
    """(M,) rollouts within their bounds and of the exact total.

    Raises:
        HookError: anything else; names the part and the first prompt at fault.
    """
    where = _where(part, "allocate")
    if not isinstance(answer, Allocation):
        raise HookError(f"{where} answered a {type(answer).__name__}; it is a gdro.Allocation")
    counts = _shaped(where, answer.rollouts, (len(ids),), "rollouts for each prompt")
    if not np.issubdtype(counts.dtype, np.integer):
        raise HookError(
            f"{where} answered rollouts of type {counts.dtype}; they are whole numbers"
            " (gdro.exact_budget)"
        )
    low, mean, high = facts.min_rollouts, facts.mean_rollouts, facts.max_rollouts
    bounds = (counts >= low) & (counts <= high)
    rule = f"rollouts lie from min_rollouts={low} to max_rollouts={high}"
    _all(part, where, ids, counts, bounds, rule)
    if (total := int(counts.sum())) != len(ids) * mean:
        raise HookError(
            f"{where} answered {total} rollouts for {len(ids)} prompts; the budget is exactly"
            f" {len(ids)} x mean_rollouts={mean} = {len(ids) * mean} (gdro.exact_budget makes"
            " them so)"
        )
    return counts.astype(np.int64)


def check_demand(part: Part, demand: Floats, bins: int) -> Floats:
    """(B,) finite demand. Raises HookError."""
    where = _where(part, "allocate")
    wanted = _shaped(where, demand, (bins,), "a demand for each bin")
    if not np.isfinite(wanted).all():
        raise HookError(
            f"{where} answered the demand {wanted[~np.isfinite(wanted)][0]} of a bin; demands are"
            " finite"
        )
    return wanted


def check_weights(part: Part, ids: Sequence[str], weights: Floats) -> Floats:
    """(M,) finite positive weights.

    Raises:
        HookError: anything else; names the part and the first prompt at fault.
    """
    where = _where(part, "weigh")
    values = _shaped(where, weights, (len(ids),), "one weight for each prompt")
    right = np.isfinite(values) & (values > 0.0)
    _all(part, where, ids, values, right, "weights are finite and positive")
    return values


def check_inclusion(part: Part, ids: Sequence[str], chances: Floats | None) -> Floats | None:
    """(M,) chances in (0, 1], or None. Raises HookError."""
    if chances is None:
        return None
    where = _where(part, "inclusion")
    values = _shaped(where, chances, (len(ids),), "one chance for each prompt")
    right = (values > 0.0) & (values <= 1.0)
    _all(part, where, ids, values, right, "chances lie in (0, 1]")
    return values


def check_terms(
    part: Part, ids: Sequence[str], terms: tuple[Floats, Floats] | None
) -> tuple[Floats, Floats] | None:
    """(M,) finite baselines and (M,) finite positive deviations, or None.

    Raises:
        HookError: anything else; names the part and the first prompt at fault.
    """
    if terms is None:
        return None
    where = _where(part, "terms")
    if not isinstance(terms, tuple) or len(terms) != 2:
        raise HookError(
            f"{where} answered a {type(terms).__name__}; it is a pair, baselines and deviations, or"
            " None"
        )
    baselines, deviations = (
        _shaped(where, term, (len(ids),), "a baseline and a deviation a prompt") for term in terms
    )
    _all(part, where, ids, baselines, np.isfinite(baselines), "baselines are finite")
    _all(
        part,
        where,
        ids,
        deviations,
        np.isfinite(deviations) & (deviations > 0.0),
        "deviations are finite and positive",
    )
    return baselines, deviations


def _where(part: Part, question: str) -> str:
    return f"{type(part).__name__}.{question}"


def _shaped(where: str, answer: Floats | Ints, shape: tuple[int, ...], what: str) -> np.ndarray:
    values = np.asarray(answer)
    if values.shape != shape or values.dtype.kind not in "iuf":
        raise HookError(
            f"{where} answered {values.dtype} of shape {values.shape}; it is {what}, of shape"
            f" {shape}"
        )
    return values


def _all(
    part: Part, where: str, ids: Sequence[str], values: np.ndarray, right: Bools, rule: str
) -> None:
    if not right.all():
        place = int(np.argmin(right))
        why = ""
        if np.isnan(values[place]) and BETA not in part.needs and not isinstance(part, Estimator):
            why = (
                ". If it comes of belief.rate, that is NaN where nothing is known of a prompt;"
                f" belief.beta always says something: {DECLARE_BETA}"
            )
        raise HookError(f"{where} answered {values[place]} for prompt {ids[place]!r}; {rule}{why}")
