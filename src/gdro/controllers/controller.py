"""The one controller: five parts, asked and taught in a fixed order, with everything checked at the
door.

    select(candidates)         estimator.predict -> selector.rank                  pure
    plan(ids)                  estimator.predict -> allocator.allocate             notes the plan
    observe(ids, rewards)      estimator.predict -> weigher.weigh, baseline.terms  then all update

Everything that can be refused is refused before a part learns, so an error changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from gdro.controllers.checks import (
    check_allocation,
    check_count,
    check_counts,
    check_demand,
    check_inclusion,
    check_losses,
    check_rank,
    check_terms,
    check_tokens,
    check_weights,
    report_outside,
    rollout_bounds,
)
from gdro.controllers.metrics import batch_metrics
from gdro.controllers.option_types import check_same, plain
from gdro.controllers.part import Batch, Facts
from gdro.controllers.parts import Parts
from gdro.controllers.pending import MAX_OUTSTANDING, Waiting
from gdro.controllers.traits import ControllerTraits
from gdro.core import signals
from gdro.core.belief import Belief
from gdro.core.errors import OptionError, PlanError, StateError
from gdro.core.hashing import step_keys
from gdro.core.outcome import Outcome, Pending
from gdro.core.prompts import IdSubset, Prompts, PromptTable
from gdro.core.ragged import Ragged, from_rewards
from gdro.core.signals import bin_demand
from gdro.core.state import State, read_int, read_state, read_states
from gdro.core.types import Feedback, Floats, Metric, Plan, Rewards

STATE_FORMAT = 2


class Controller(ControllerTraits):
    """plan -> rollouts; observe -> weights; select -> prompts.

    Args:
        parts: the five parts; the controller binds fresh copies of them.
        name: what the controller is called in records and saved states.
        mean_rollouts: nbar; the rollouts of every batch sum to exactly M * nbar.
        min_rollouts, max_rollouts: bounds of a prompt's rollouts; without them 2 (1 where nbar is
            1) and three times nbar, at least 12.
        reward_range: (low, high) of the rewards; (-1, 1) for the paper's.
        correct_threshold: a reward at or above it counts as correct.
        seed: of every random choice, which is a function of seed, step and prompt id alone.

    Raises:
        OptionError: names the option that is out of range, or the part that needs another
            estimator.
    """

    def __init__(
        self,
        parts: Parts | None = None,
        *,
        name: str = "composition",
        mean_rollouts: int = 4,
        min_rollouts: int | None = None,
        max_rollouts: int | None = None,
        reward_range: tuple[float, float] = (0.0, 1.0),
        correct_threshold: float = 0.5,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.parts = (Parts() if parts is None else parts).fresh()
        self.parts.check()
        mean = plain("mean_rollouts", mean_rollouts, int)
        low, high, wrong = rollout_bounds(
            mean,
            plain("min_rollouts", min_rollouts, int | None),
            plain("max_rollouts", max_rollouts, int | None),
        )
        if min(low, mean) < 1:
            raise OptionError(f"mean_rollouts={mean}, min_rollouts={low}: both must be at least 1")
        if wrong is not None:
            raise OptionError(f"mean_rollouts={mean} {wrong}")
        scale = plain("reward_range", reward_range, tuple[float, float])
        if len(scale) != 2 or not 1e-100 <= scale[1] - scale[0] <= 1e100:
            raise OptionError(
                f"reward_range={scale} must be two numbers, the lower first, 1e-100 to 1e100 apart"
            )
        self.facts = Facts(
            mean,
            low,
            high,
            scale,
            plain("correct_threshold", correct_threshold, float),
            plain("seed", seed, int),
            PromptTable(),
            self.parts.estimator.edges,
            reads_texts=self.reads_texts,
        )
        for part in [self.parts.estimator, *list(self.parts)[:-1]]:
            part.bind(self.facts)
        self.plans_made = 0
        self.steps_seen = 0
        self._outstanding = Waiting(self.table)
        self._awaiting_losses = Waiting(self.table)
        self._metrics: dict[str, Metric] = {}
        self._known: tuple[Sequence[str], Belief] | None = None  # since the last lesson

    def describe(self, prompt_ids: Sequence[str], texts: Sequence[str]) -> None:
        """Tell the texts of prompts, before they are planned or offered; without effect where
        `reads_texts` is False. They are not in the state: a resumed run tells them again.

        Raises:
            PromptIdError: as in `plan`, or a text that is none.
        """
        if self.reads_texts:
            self.facts.texts.describe(prompt_ids, texts)

    def select(self, candidate_ids: Sequence[str], m: int) -> list[str]:
        """The m candidates to train on next, best first. Changes nothing: asked again before the
        next plan, it answers the same, whatever the order of the candidates.

        Args:
            candidate_ids: each once; of an `IdSubset` those that were offered before cost next to
                nothing to find.
            m: how many to choose.

        Raises:
            OptionError: this controller has no selector (`selects` is False).
            PromptIdError: as in `plan`.
            PlanError: m is not a whole number from 1 to the number of candidates.
        """
        selector = self.parts.selector
        if selector is None:
            raise OptionError(
                f"controller {self.name!r} does not select prompts; draw the batch and call plan"
            )
        candidates = self._looked_up(candidate_ids)
        check_count(m, len(candidates))
        batch = self._batch(
            candidates, -1 - self.plans_made, self.parts.weigher.selection_weights()
        )
        rank = check_rank(selector, candidates.ids, selector.rank(batch))
        if m < len(rank):  # a partition leaves few to sort
            near = np.flatnonzero(rank <= np.partition(rank, m - 1)[m - 1])
        else:
            near = np.arange(len(rank))
        order = near[np.lexsort((candidates.keys[near], rank[near]))][:m]
        return [candidates.ids[place] for place in order.tolist()]

    def plan(self, prompt_ids: Sequence[str]) -> Plan:
        """Decide the rollouts of a batch of M prompts.

        Raises:
            PromptIdError: an empty batch, or an id that is empty, not a string, or there twice.
            PlanError: MAX_OUTSTANDING plans already wait for their rewards.
            OptionError: an option that leaves no room for these prompts.
            HookError: a part of somebody's own answered what no part may.
        """
        prompts = self.table.look_up(prompt_ids)
        if self._outstanding.full:
            raise PlanError(
                f"{MAX_OUTSTANDING} plans wait for their rewards; call observe (or cancel) before"
                " planning more"
            )
        selector, allocator = self.parts.selector, self.parts.allocator
        batch = self._batch(prompts, self.plans_made, self.parts.weigher.allocation_weights())
        inclusion = None
        if selector is not None:
            selector.admit(prompts)
            inclusion = check_inclusion(selector, prompts.ids, selector.inclusion(batch))
        answer = allocator.allocate(batch)
        rollouts = check_allocation(allocator, prompts.ids, answer, self.facts)
        bins = batch.belief.bins
        if answer.demand is None:
            demand = bin_demand(rollouts, bins, self.bins, self.mean_rollouts)
        else:
            demand = check_demand(allocator, answer.demand, self.bins)
        self.plans_made += 1
        self._outstanding.plans.append(
            Pending(
                self.table.admit(prompts), bins, rollouts, demand, answer.shadow_price, inclusion
            )
        )
        return Plan(tuple(prompts.ids), rollouts.copy(), bins.copy())

    def belief(self, prompt_ids: Sequence[str]) -> Belief:
        """What the estimator knows of these prompts now. Changes nothing; raises PromptIdError as
        `plan`."""
        return self._predict(self._looked_up(prompt_ids))

    def count_sources(self, prompt_ids: Sequence[str]) -> dict[str, int]:
        """How many of these prompts come from each of their sources; raises PromptIdError as
        `plan`."""
        return self.table.count_sources(self._looked_up(prompt_ids))

    def cancel(self, plan: Plan) -> None:
        """Forget a plan whose rewards will never come.

        Raises:
            PlanError: no such plan is outstanding, or it is no plan at all.
        """
        self._outstanding.cancel(plan)

    def amend(self, plan: Plan, rollouts: ArrayLike) -> Plan:
        """Correct an outstanding plan to the rollouts that came back; prompts without any are left
        out.

        For engines whose rollouts fail, or that generate in rounds and give some prompts more at
        the cost of others: the answer to give to `observe` is then that of the plan returned here,
        and the parts learn from what came alone.

        Args:
            rollouts: (M,) whole numbers, each at most that planned, or of the planned total.

        Raises:
            PlanError: no such plan is outstanding, or rollouts that it cannot have had, or none at
                all.
        """
        return self._outstanding.amend(plan, rollouts)

    def observe(self, prompt_ids: Sequence[str], rewards: Rewards) -> Feedback:
        """Learn from the rewards of the oldest outstanding plan with these prompts, and weigh the
        prompts.

        What is learned does not depend, to the last bit, on the order in which prompts and rewards
        are given here.

        Args:
            prompt_ids: (M,) the prompts of one plan, in any order.
            rewards: for each of them its n_i rewards, in any order.

        Raises:
            PromptIdError: as in `plan`.
            PlanError: no outstanding plan has exactly these prompts.
            RewardError: a reward is missing, too many, or not a finite number; or it lies outside
                `reward_range` where baselines follow from that range (`sets_baselines`). Elsewhere
                such rewards are counted in the metric `out_of_range`, as the nearer end of the
                range, with a warning.
            HookError: a part of somebody's own answered what no part may.
        """
        prompts = self.table.look_up(prompt_ids)
        place, order = self._outstanding.find(
            prompts, "outstanding plan", "call plan before observe"
        )
        groups = from_rewards(prompts.ids, rewards).take(np.argsort(order)).sorted()
        if self.needs_losses and self._awaiting_losses.full:
            raise PlanError(
                "signal or utility 'surrogate' needs the engine's losses: call observe_losses"
                f" after each update ({MAX_OUTSTANDING} batches wait for theirs)"
            )
        outcome = self._outcome(self._outstanding.plans[place], groups)
        parts, planned = self.parts, outcome.prompts.ids
        before = parts.estimator.predict(outcome.prompts, outcome.step)
        weights = check_weights(parts.weigher, planned, parts.weigher.weigh(outcome, before))
        if outcome.plan.inclusion is not None:
            weights = weights / outcome.plan.inclusion
        terms = check_terms(parts.baseline, planned, parts.baseline.terms(outcome, before))
        mass = parts.estimator.mass()
        metrics = batch_metrics(outcome, before, weights, mass, self.facts)
        del self._outstanding.plans[place]
        self.steps_seen, self._known = outcome.step, None
        for part in parts:
            part.update(outcome, before)
        for part in parts:
            metrics |= part.metrics()
        self._metrics = metrics
        if self.needs_losses:
            self._awaiting_losses.plans.append(outcome.plan)
        baselines, deviations = (None, None) if terms is None else (term[order] for term in terms)
        return Feedback(
            tuple(prompts.ids), weights[order], outcome.bins[order], baselines, deviations
        )

    def observe_losses(self, prompt_ids: Sequence[str], losses: ArrayLike) -> None:
        """Learn from the surrogate losses of an observed batch; without effect where `needs_losses`
        is False.

        Args:
            prompt_ids: (M,) the prompts of one observed batch, in any order.
            losses: (M,) mean of eq. 6 over each prompt's rollouts, with unweighted advantages.

        Raises:
            PlanError: no observed batch with these prompts waits for losses.
            RewardError: a loss is missing or not a finite number.
        """
        prompts = self.table.look_up(prompt_ids)
        values = check_losses(prompts, losses)
        if not self.needs_losses:
            return
        hint = "call observe first, and observe_losses once for each batch"
        place, order = self._awaiting_losses.find(prompts, "observed batch without losses", hint)
        batch, values = self._awaiting_losses.plans.pop(place), values[np.argsort(order)]
        self._known = None
        for part in self.parts:
            part.update_losses(batch, values)

    def observe_tokens(self, prompt_ids: Sequence[str], tokens: ArrayLike) -> None:
        """Learn how long the rollouts of planned prompts were, once for each batch, before or
        after `observe`; without effect where `needs_tokens` is False.

        Args:
            tokens: (M,) mean tokens of each prompt's rollouts, above 0.

        Raises:
            PlanError: a prompt that was never planned.
            RewardError: not M finite numbers above 0.
        """
        prompts = self.table.look_up(prompt_ids)
        values = check_tokens(prompts, tokens)
        if self.needs_tokens:
            self._known = None
            for part in self.parts:
                part.update_tokens(prompts, values)

    def metrics(self) -> dict[str, Metric]:
        """What the last observed step looked like; empty before the first. See docs/controllers.md
        for every key."""
        return {
            key: list(value) if isinstance(value, list) else value
            for key, value in self._metrics.items()
        }

    def state_dict(self) -> State:
        """Everything that the future depends on, as arrays, numbers, strings and lists."""
        named = {slot: part for slot, part in self.parts.named().items() if part is not None}
        return {
            "format": STATE_FORMAT,
            "controller": self.name,
            "options": self.options(),
            "plans_made": self.plans_made,
            "steps_seen": self.steps_seen,
            "prompts": self.table.state_dict(),
            "outstanding": self._outstanding.state_list(),
            "awaiting_losses": self._awaiting_losses.state_list(),
            "metrics": self.metrics(),
            "parts": {slot: part.state_dict() for slot, part in named.items()},
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from a state as if nothing had happened.

        Raises:
            StateError: another controller or another format saved it, an option differs, or it is
                damaged; names the key. The controller is then as it was before.
        """
        options = {
            key: value for key, value in self.options().items() if key not in self.parts.named()
        }
        options["reward_range"] = tuple(options["reward_range"])
        loaded = Controller(self.parts, name=self.name, **options)
        loaded.facts.texts.adopt(self.facts.texts)
        loaded._restore(state)
        vars(self).update(vars(loaded))

    def _restore(self, state: State) -> None:
        for key, mine in (("format", STATE_FORMAT), ("controller", self.name)):
            if not isinstance(state, dict) or state.get(key) != mine:
                raise StateError(f"the state is not this controller's: it lacks {key}={mine!r}")
        check_same(read_state(state, "options"), self.options())
        self.table.load_state_dict(read_state(state, "prompts"))
        self.plans_made = read_int(state, "plans_made")
        self.steps_seen = read_int(state, "steps_seen")
        parts = read_state(state, "parts")
        for slot, part in self.parts.named().items():
            if part is not None:
                part.load_state_dict(read_state(parts, slot))
        self.parts.estimator.after_load()
        self._outstanding.load_state_list(read_states(state, "outstanding"), self.bins)
        self._awaiting_losses.load_state_list(read_states(state, "awaiting_losses"), self.bins)
        self._metrics = read_state(state, "metrics")
        self._metrics = self.metrics()

    def _looked_up(self, prompt_ids: Sequence[str]) -> Prompts:
        if isinstance(prompt_ids, IdSubset):
            return self.table.look_up_subset(prompt_ids)
        return self.table.look_up(prompt_ids)

    def _batch(self, prompts: Prompts, salt: int, weights: Floats | None) -> Batch:
        """What selector and allocator are asked about."""
        keys = step_keys(prompts.keys, self.seed, salt)
        return Batch(prompts, self._predict(prompts), keys, weights, self.plans_made)

    def _predict(self, prompts: Prompts) -> Belief:
        """The belief in prompts now; the same prompts may be asked of again before the next
        lesson, by a choice and by what is recorded of it."""
        if self._known is None or self._known[0] != prompts.ids:
            self._known = prompts.ids, self.parts.estimator.predict(prompts, self.steps_seen)
        return self._known[1]

    def _outcome(self, plan: Pending, rewards: Ragged) -> Outcome:
        check_counts(plan, rewards)
        unit, outside = signals.rescale(rewards, *self.reward_range)
        if outside:
            name = self.name if self.sets_baselines else None
            report_outside(plan, rewards, self.reward_range, name)
        return Outcome(
            plan,
            rewards,
            unit,
            self.facts.correct_threshold,
            outside,
            self.steps_seen + 1,
            len(self._outstanding.plans) - 1,
        )
