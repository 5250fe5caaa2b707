"""One controller behind an engine's batches: plan, generate, answer; the same in every engine.

An adapter sorts what its engine brings by prompt id and asks this class. A batch goes

    choose -> plan -> (generation, rewards) [-> observe_tokens] -> observe -> advantages
           [-> observe_losses]

and ends in `observe` or, when the engine fails in between, in `abandon`. Rewards may be missing: a
rollout that crashed, a completion that no reward function scored. They are counted, their rollouts
have no advantage, and the controller learns from those that came.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike

from gdro.core.errors import OptionError, PlanError, StateError
from gdro.core.signals import ROUNDING
from gdro.core.state import ANY, read_array, read_int, read_state
from gdro.core.types import Feedback, Floats, Ints, Metrics, Plan
from gdro.engines.answer import Answer, to_whole_plan
from gdro.engines.candidates import CandidatePool, tell
from gdro.engines.choice import ChoiceRecord, what_was_offered, with_rewards
from gdro.engines.interface import Controller

Row = TypeVar("Row")
Weighting = Literal["prompt", "row"]

MAX_SKIPS = 10
"""Batches in a row that taught the controller nothing, after which a run stops by default."""

logger = logging.getLogger(__name__)


def check_weighting(weighting: object, setting: str = "weighting") -> None:
    """Raises OptionError, in which the setting is named, unless it is one that a session knows."""
    if weighting not in get_args(Weighting):
        raise OptionError(f"{setting}={weighting!r} must be {' or '.join(get_args(Weighting))}")


class ControllerSession(Generic[Row]):
    """The traffic between an engine and a controller, one batch at a time.

    Args:
        controller: who decides.
        weighting: `prompt` scales a prompt's advantages by nbar / n_i, so that a plan is no hidden
            weight; `row` leaves them, so that a prompt counts by its rollouts.
        pool: candidates of a controller that selects; None where prompts come as they come.
        prompt_of: what a row asks, for a controller that reads texts where there is no pool.
        range_stated: whether the user said which rewards to expect. Where not, and the controller
            sets baselines by its `reward_range`, the first reward outside ends these baselines.
        max_skips: batches in a row that may teach the controller nothing; None for any number,
            where the engine takes a reward that is missing for a prompt that has none.

    Attributes:
        skipped: batches that taught the controller nothing, because no reward came.
        missing: rollouts without a reward, in all.
        choice: what the last batch was chosen from and what came of it (`gdro.engines.choice`).

    Raises:
        OptionError: an unknown weighting.
    """

    def __init__(
        self,
        controller: Controller,
        weighting: str = "prompt",
        *,
        pool: CandidatePool[Row] | None = None,
        prompt_of: Callable[[Row], Any] | None = None,
        range_stated: bool = True,
        max_skips: int | None = MAX_SKIPS,
    ) -> None:
        check_weighting(weighting)
        self.controller, self.weighting, self.pool = controller, weighting, pool
        self.prompt_of = prompt_of
        self.range_stated, self.max_skips = range_stated, max_skips
        self.skipped = self.missing = 0
        self._skipped_in_a_row = 0
        self._outside = False
        self._plan: Plan | None = None
        self._awaiting_losses: tuple[str, ...] | None = None
        self._learned: Ints = np.empty(0, np.int64)
        self._refused: str | None = None
        self.choice: ChoiceRecord = {}

    @property
    def planned(self) -> Plan | None:
        """The plan that waits for its rewards."""
        return self._plan

    def choose(self, drawn: Mapping[str, Row], number: int) -> dict[str, Row]:
        """The rows to train on: those of the data loader, or as many that the controller chooses.

        Args:
            drawn: the M rows that the data loader gave, by prompt id.
            number: of the batch in the run.

        Raises:
            PlanError, PromptIdError: as `CandidatePool.choose`.
        """
        if self.pool is None:
            if self.controller.reads_texts and self.prompt_of is not None:
                tell(self.controller, {key: self.prompt_of(row) for key, row in drawn.items()})
            self.choice = what_was_offered(self.controller, list(drawn), list(drawn))
            return dict(drawn)
        offered = self.pool.offer(list(drawn), number)
        chosen = self.pool.choose_among(offered, len(drawn))
        self.choice = what_was_offered(self.controller, offered, chosen)
        return dict(zip(chosen, self.pool.rows(chosen, drawn), strict=True))

    def plan(self, prompt_ids: Sequence[str]) -> Plan:
        """Rollouts of a batch; the total is M * mean_rollouts.

        Raises:
            PlanError: the last batch was never answered, its rewards were refused, or this plan is
                none: other prompts, another total, a prompt without a rollout.
            PromptIdError: from the controller.
        """
        if self._refused is not None:
            raise PlanError(f"the rewards of the last batch were refused: {self._refused}")
        if self._plan is not None:
            raise PlanError(
                "a batch is planned while the last one waits for its rewards; gdro needs an"
                " engine's synchronous mode, one batch after the other"
            )
        self._plan = plan = self.controller.plan(prompt_ids)
        self._awaiting_losses = None
        try:
            self._check(plan, tuple(prompt_ids))
        except PlanError:
            self.abandon()
            raise
        return plan

    def share_out(self, rollouts: Ints) -> Plan:
        """The plan under way with other rollouts (M,) of the same total, as rounds of generation
        gave them.

        Raises:
            PlanError: there is no plan, or another total.
        """
        if self._plan is None or int(np.sum(rollouts)) != self._plan.total:
            raise PlanError(
                f"{int(np.sum(rollouts))} rollouts cannot be those of the plan under way"
            )
        self._plan = self.controller.amend(self._plan, rollouts)
        return self._plan

    def abandon(self) -> None:
        """Forget the batch under way, if there is one: generation or scoring failed.

        Raises nothing itself, so that what went wrong is what is seen.
        """
        plan, self._plan = self._plan, None
        if plan is not None:
            with suppress(PlanError):  # the controller had taken the plan's answer when it failed
                self.controller.cancel(plan)

    def observe(self, rewards: Sequence[ArrayLike]) -> Answer:
        """Answer the plan with each prompt's rewards, in the order of the plan.

        Prompts may have fewer rewards than planned, or none: the controller then learns from those
        that came, the others are counted in `missing`, and a prompt without any weighs 1. From a
        batch without any reward, or with more than were planned, it does not learn at all; that is
        counted in `skipped`, with a warning.

        Raises:
            PlanError: there is no plan, or `max_skips` batches in a row taught nothing.
            RewardError: a reward that is not a finite number, or outside a range that was stated.
        """
        if (plan := self._plan) is None:
            raise PlanError("a batch came back that was never planned")
        counts = np.array([len(np.atleast_1d(group)) for group in rewards], np.int64)
        self._count_missing(plan, counts)
        if self.choice:
            self.choice = with_rewards(self.choice, plan.prompt_ids, rewards)
        feedback: Feedback | None = None
        try:
            if counts.any() and (counts <= plan.rollouts).all():
                feedback = self._learn(plan, counts, rewards)
            else:
                self._skip(plan, counts)
        except BaseException as error:
            self.abandon()
            self._refused = f"{type(error).__name__}: {error}"
            raise
        self._plan = None
        weights = np.ones(len(counts)) if feedback is None else feedback.weights
        return Answer(
            plan.prompt_ids,
            counts,
            weights,
            weights * self._scale(counts),
            None if self._outside else feedback,
            feedback is not None,
        )

    def observe_tokens(self, tokens: ArrayLike) -> None:
        """(M,) mean tokens of the rollouts of the plan under way, in its order; 0 for a prompt
        without a rollout, which is left out. Between `plan` and `observe`.

        Raises:
            PlanError: there is no plan.
            RewardError: tokens that are none.
        """
        if (plan := self._plan) is None:
            raise PlanError("tokens came for a batch that was never planned, or is answered")
        values = np.asarray(tokens, np.float64)
        if self.controller.needs_tokens and values.any():
            kept = np.flatnonzero(values)
            ids = [plan.prompt_ids[place] for place in kept.tolist()]
            self.controller.observe_tokens(ids, values[kept])

    def observe_losses(self, losses: ArrayLike) -> None:
        """(M,) mean unweighted surrogate losses of the last batch's prompts, in the order of the
        plan.

        Nothing happens after a batch that was skipped, or where the controller wants none.
        """
        ids, self._awaiting_losses = self._awaiting_losses, None
        if ids is None:
            return
        values = np.asarray(losses, np.float64)[self._learned]
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s", json.dumps(dict(zip(ids, values.tolist(), strict=True))))
        self.controller.observe_losses(ids, values)

    def metrics(self) -> dict[str, float]:
        """What the controller reports and the session counts, as finite numbers by flat names."""
        own: Metrics = {
            "skipped_steps": self.skipped,
            "missing_rollouts": self.missing,
            "prompt_mean": float(self.weighting == "prompt"),
            "live_offered": self.choice.get("live_offered", math.nan),
        }
        return flat_metrics({**self.controller.metrics(), **own})

    def state_dict(self) -> dict[str, Any]:
        """Everything that the future depends on, between two batches."""
        return {
            "controller": self.controller.state_dict(),
            "skipped": self.skipped,
            "skipped_in_a_row": self._skipped_in_a_row,
            "missing": self.missing,
            "outside": self._outside,
            "awaiting_losses": (
                None if self._awaiting_losses is None else list(self._awaiting_losses)
            ),
            "learned": self._learned.copy(),
            "choice": json.dumps(self.choice),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            StateError: another controller or other options saved it, or it is damaged.
        """
        if not isinstance(state, dict) or "outside" not in state:
            raise StateError("this is no state of a run of gdro; use another checkpoint")
        counts = [read_int(state, key) for key in ("skipped", "skipped_in_a_row", "missing")]
        self.controller.load_state_dict(read_state(state, "controller"))
        self.skipped, self._skipped_in_a_row, self.missing = counts
        self._outside = bool(state["outside"])
        waiting = state.get("awaiting_losses")
        self._awaiting_losses = None if waiting is None else tuple(waiting)
        self._learned = read_array(state, "learned", self._learned, rows=ANY)
        self._plan = self._refused = None
        self.choice = json.loads(state.get("choice", "{}"))

    def _check(self, plan: Plan, prompt_ids: tuple[str, ...]) -> None:
        """Refuse a plan that the engine cannot carry out."""
        if tuple(plan.prompt_ids) != prompt_ids:
            raise PlanError(
                "the controller's plan names other prompts than the batch, or another order"
            )
        total, least = len(prompt_ids) * self.controller.mean_rollouts, int(plan.rollouts.min())
        if plan.total != total or least < 1:
            raise PlanError(
                f"the controller planned {plan.total} rollouts, at least {least} a prompt; the"
                f" batch holds exactly {total} and every prompt needs at least 1"
            )

    def _scale(self, counts: Ints) -> Floats:
        """(M,) nbar / n_i with weighting `prompt`, else 1."""
        if self.weighting == "row":
            return np.ones(len(counts))
        return np.asarray(self.controller.mean_rollouts / np.maximum(counts, 1))

    def _count_missing(self, plan: Plan, counts: Ints) -> None:
        """Count rollouts without a reward; the first time, say so."""
        short = np.flatnonzero(counts < plan.rollouts)
        if not short.size:
            return
        lost = int((plan.rollouts - counts)[short].sum())
        logger.log(
            logging.INFO if self.missing else logging.WARNING,
            "%d of %d rollouts have no reward, the first of prompt %r with %d of %d; what came is "
            "learned from, the rest counted in gdro/missing_rollouts",
            lost,
            plan.total,
            plan.prompt_ids[short[0]],
            counts[short[0]],
            plan.rollouts[short[0]],
        )
        self.missing += lost

    def _learn(self, plan: Plan, counts: Ints, rewards: Sequence[ArrayLike]) -> Feedback:
        """The controller's feedback, for all prompts of the plan."""
        self._learned = kept = np.flatnonzero(counts)
        came: Sequence[ArrayLike] = [rewards[place] for place in kept.tolist()]
        if not np.array_equal(counts, plan.rollouts):
            self._plan = plan_of_those = self.controller.amend(plan, counts)
        else:
            plan_of_those = plan
        if self.controller.sets_baselines and not self.range_stated:
            came = self._within(came)
        feedback = self.controller.observe(plan_of_those.prompt_ids, came)
        self._skipped_in_a_row = 0
        self._awaiting_losses = plan_of_those.prompt_ids if self.controller.needs_losses else None
        return feedback if len(kept) == len(counts) else to_whole_plan(feedback, plan, kept)

    def _within(self, rewards: Sequence[ArrayLike]) -> Sequence[ArrayLike]:
        """The rewards, those outside `reward_range` as its nearer end, as controllers without
        baselines take them; from the first such reward on the controller's baselines are not
        used."""
        low, high = self.controller.reward_range
        groups = [np.asarray(group, np.float64) for group in rewards]
        values = np.concatenate(groups)
        # A weighted sum in float32 may end just beyond the range, as `signals.rescale` knows.
        slack = ROUNDING * (high - low)
        if not (outside := (values < low - slack) | (values > high + slack)).any():
            return rewards
        if not self._outside:
            logger.warning(
                "a reward of %g lies outside (%g, %g), the range that is taken where none is"
                " stated: from here on advantages are those of the group, and the controller sees"
                " such rewards as the nearer end. State reward_range=(lowest, highest) to keep its"
                " baselines",
                values[outside][0],
                low,
                high,
            )
        self._outside = True
        return [np.clip(group, low, high) for group in groups]

    def _skip(self, plan: Plan, counts: Ints) -> None:
        self.controller.cancel(plan)
        self.skipped += 1
        self._skipped_in_a_row += 1
        first = int(np.argmax(counts != plan.rollouts))
        message = (
            f"the controller cannot learn from a batch with {counts.sum()} rewards for {plan.total}"
            f" rollouts, prompt {plan.prompt_ids[first]!r} with {counts[first]} of"
            f" {plan.rollouts[first]}"
        )
        if self.max_skips is not None and self._skipped_in_a_row >= self.max_skips:
            raise PlanError(
                f"{message}, {self.max_skips} batches in a row; mend the rollouts or the reward"
            )
        logger.warning("%s; all weights are 1", message)


def flat_metrics(metrics: Metrics) -> dict[str, float]:
    """`{"weight": [..]} -> {"gdro/weight/bin_0": ..}`, finite numbers alone.

    Text is left out, and NaN, which stands for "no value". Infinite values are left out too, since
    no logger takes them, and counted in `gdro/infinite_values`.
    """
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, list):
            parts = {f"gdro/{name}/bin_{index}": float(part) for index, part in enumerate(value)}
            flat |= parts
        elif not isinstance(value, str):
            flat[f"gdro/{name}"] = float(value)
    infinite = sum(map(math.isinf, flat.values()))
    return {name: value for name, value in flat.items() if math.isfinite(value)} | {
        "gdro/infinite_values": float(infinite)
    }
