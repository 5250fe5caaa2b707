"""The one interface of every controller, and all that they share: prompts by id, bins, plans, checks, state.

A method overrides a few hooks: `_allocate` (how many rollouts), `_weigh` (what weight), `_rank` (which prompts, if it
selects them) and `_learn`, and says with `_state` what it must remember. Everything that can be refused is refused
before a hook runs, so an error changes nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from gdro.controllers.answers import check_allocation, check_rank, check_terms, check_weights
from gdro.controllers.metrics import batch_metrics
from gdro.controllers.options import check_types
from gdro.controllers.outstanding import find, pack, unpack
from gdro.core import signals
from gdro.core.difficulty import DifficultyClassifier, Statistic
from gdro.core.errors import OptionError, PlanError, RewardError, StateError
from gdro.core.hashing import Keys, step_keys
from gdro.core.outcome import Outcome, Pending, count_correct
from gdro.core.prompts import check_ids
from gdro.core.ragged import Ragged, flat_numbers, from_rewards
from gdro.core.state import State, read_int, read_state, read_states
from gdro.core.types import Feedback, Floats, Ints, Metric, Plan, Rewards

STATE_FORMAT = 1


@dataclass(kw_only=True, eq=False)
class Controller:
    """plan -> rollouts; observe -> weights. The base allocates uniformly and weighs with 1.

    Attributes:
        bins: number of difficulty bins of equal width over [0, 1]; 0 is the hardest.
        inner_edges: explicit inner edges instead, rising inside (0, 1); `bins` then follows from them.
        mean_rollouts: nbar; the rollouts of every batch sum to exactly M * nbar.
        min_rollouts, max_rollouts: bounds of a prompt's rollouts.
        statistic: any_of_n, pass_at_k, mean_reward or beta (see gdro.core.difficulty).
        window: average the last so many visits of a prompt; None to discount instead.
        discount: weight of a visit relative to the next one.
        k: the k of statistic pass_at_k.
        hysteresis: margin by which an estimate must pass an edge before its prompt changes bin.
        correct_threshold: a reward at or above it counts as correct.
        reward_range: (low, high) of the rewards; (-1, 1) for the paper's.
        max_outstanding: plans that may wait for their rewards at the same time.
        seed: of every random choice, which is a function of seed, step and prompt id alone.

    Raises:
        OptionError: names the option that is out of range.
    """

    bins: int = 10
    inner_edges: Sequence[float] | None = None
    mean_rollouts: int = 4
    min_rollouts: int = 2
    max_rollouts: int = 12
    statistic: Statistic = "beta"
    window: int | None = None
    discount: float = 0.9
    k: int = 8
    hysteresis: float = 0.03
    correct_threshold: float = 0.5
    reward_range: tuple[float, float] = (0.0, 1.0)
    max_outstanding: int = 64
    seed: int = 0

    name: ClassVar[str] = "uniform"
    selects: ClassVar[bool] = False
    """Whether the method answers `select`."""
    pool_factor: ClassVar[int] = 4
    """Candidates that an engine should offer per prompt selected, where the user says nothing."""

    def __post_init__(self) -> None:
        check_types(self)
        edges = self.bins if self.inner_edges is None else list(self.inner_edges)
        self.classifier = DifficultyClassifier(
            edges, self.statistic, self.window, self.discount, self.k, self.hysteresis
        )
        self.bins = self.classifier.bins
        self._check_options()
        self.plans_made = 0
        self.steps_seen = 0
        self._outstanding: list[Pending] = []
        self._awaiting_losses: list[Pending] = []
        self._metrics: dict[str, Metric] = {}

    @property
    def edges(self) -> Floats:
        """(B+1,) bin edges from 0 to 1."""
        return self.classifier.edges

    @property
    def needs_losses(self) -> bool:
        """Whether the engine must report surrogate losses through `observe_losses` after each update."""
        return False

    @property
    def sets_baselines(self) -> bool:
        """Whether feedback has `baselines` and `deviations`, which an engine must then use for its advantages."""
        return False

    @property
    def plans_equally(self) -> bool:
        """Whether every prompt gets `mean_rollouts`."""
        return type(self)._allocate is Controller._allocate

    def select(self, candidate_ids: Sequence[str], m: int) -> list[str]:
        """The m candidates to train on next, best first. Changes nothing: asked again before the next plan, it answers
        the same, whatever the order of the candidates.

        Raises:
            OptionError: this method does not select (`selects` is False).
            PromptIdError: as in `plan`.
            PlanError: m is not a whole number from 1 to the number of candidates.
        """
        if not self.selects:
            raise OptionError(f"controller {self.name!r} does not select prompts; draw the batch and call plan")
        ids = check_ids(candidate_ids)
        if isinstance(m, bool) or not isinstance(m, (int, np.integer)) or not 1 <= m <= len(ids):
            raise PlanError(f"m={m!r} must be a whole number from 1 to the {len(ids)} candidates")
        rows = self.classifier.table.known_rows(ids)
        keys = self.classifier.table.keys(ids, rows)
        rank = check_rank(
            type(self).__name__, ids, self._rank(ids, rows, step_keys(keys, self.seed, -1 - self.plans_made))
        )
        order = np.lexsort((keys, rank))[:m]
        return [ids[place] for place in order.tolist()]

    def plan(self, prompt_ids: Sequence[str]) -> Plan:
        """Decide the rollouts of a batch of M prompts.

        Raises:
            PromptIdError: an empty batch, or an id that is empty, not a string, or there twice.
            PlanError: `max_outstanding` plans already wait for their rewards.
            OptionError: an option that leaves no room for these prompts (`most_categories`).
        """
        ids = check_ids(prompt_ids)
        if len(self._outstanding) >= self.max_outstanding:
            raise PlanError(
                f"{self.max_outstanding} plans wait for their rewards; call observe (or cancel) before planning more"
            )
        table = self.classifier.table
        bins = self.classifier.bins_of(table.known_rows(ids))
        self._admit(ids, bins)
        rows = table.rows(ids)
        keys = step_keys(table.column("key")[rows], self.seed, self.plans_made)
        rollouts, demand = check_allocation(
            type(self).__name__,
            ids,
            *self._allocate(ids, rows, bins, keys),
            bins=self.bins,
            low=self.min_rollouts,
            mean=self.mean_rollouts,
            high=self.max_rollouts,
        )
        self.plans_made += 1
        self._outstanding.append(Pending(ids, rows, bins, rollouts, demand))
        return Plan(ids, rollouts.copy(), bins.copy())

    def cancel(self, plan: Plan) -> None:
        """Forget a plan whose rewards will never come.

        Raises:
            PlanError: no such plan is outstanding, or it is no plan at all.
        """
        if not isinstance(plan, Plan):
            raise PlanError(f"cancel takes the Plan that plan() gave, not a {type(plan).__name__}")
        for place, pending in enumerate(self._outstanding):
            if pending.prompt_ids == plan.prompt_ids and np.array_equal(pending.rollouts, plan.rollouts):
                del self._outstanding[place]
                return
        raise PlanError(f"no such plan of {len(plan.prompt_ids)} prompts is outstanding; cancel a plan at most once")

    def observe(self, prompt_ids: Sequence[str], rewards: Rewards) -> Feedback:
        """Learn from the rewards of the oldest outstanding plan with these prompts, and weigh the prompts.

        What is learned does not depend, to the last bit, on the order in which prompts and rewards are given here.

        Args:
            prompt_ids: (M,) the prompts of one plan, in any order.
            rewards: for each of them its n_i rewards, in any order.

        Raises:
            PromptIdError: as in `plan`.
            PlanError: no outstanding plan has exactly these prompts.
            RewardError: a reward is missing, too many, or not a finite number; or it lies outside `reward_range` where
                baselines follow from that range (`sets_baselines`). Elsewhere such rewards are counted in the metric
                `out_of_range`, as the nearer end of the range, with a warning.
        """
        ids = check_ids(prompt_ids)
        place, order = find(self._outstanding, ids, "outstanding plan", "call plan before observe")
        groups = from_rewards(ids, rewards).take(np.argsort(order)).sorted()
        outcome = self._outcome(self._outstanding[place], groups)
        if self.needs_losses and len(self._awaiting_losses) >= self.max_outstanding:
            raise PlanError(
                f"signal or utility 'surrogate' needs the engine's losses: call observe_losses after each update "
                f"({self.max_outstanding} batches wait for theirs)"
            )
        del self._outstanding[place]
        self.steps_seen += 1
        planned, who = outcome.plan.prompt_ids, type(self).__name__
        weights = check_weights(who, planned, self._weigh(outcome))
        terms = check_terms(who, planned, self._advantage_terms(outcome))
        self._learn(outcome)
        self._metrics = self._describe(outcome, weights)
        self.classifier.record(outcome.plan.rows, outcome.visits)
        if self.needs_losses:
            self._awaiting_losses.append(outcome.plan)
        baselines, deviations = (None, None) if terms is None else (term[order] for term in terms)
        return Feedback(ids, weights[order], outcome.bins[order], baselines, deviations)

    def observe_losses(self, prompt_ids: Sequence[str], losses: ArrayLike) -> None:
        """Learn from the surrogate losses of an observed batch; without effect where `needs_losses` is False.

        Args:
            prompt_ids: (M,) the prompts of one observed batch, in any order.
            losses: (M,) mean of eq. 6 over each prompt's rollouts, with unweighted advantages.

        Raises:
            PlanError: no observed batch with these prompts waits for losses.
            RewardError: a loss is missing or not a finite number.
        """
        ids = check_ids(prompt_ids)
        values = flat_numbers("the list of losses", losses).astype(np.float64)
        if len(values) != len(ids) or not np.isfinite(values).all():
            raise RewardError(f"losses must be {len(ids)} finite numbers, one for each prompt id; got {losses!r:.80}")
        if not self.needs_losses:
            return
        hint = "call observe first, and observe_losses once for each batch"
        place, order = find(self._awaiting_losses, ids, "observed batch without losses", hint)
        self._learn_losses(self._awaiting_losses.pop(place), values[np.argsort(order)])

    def metrics(self) -> dict[str, Metric]:
        """What the last observed step looked like; empty before the first. See docs/metrics.md for every key."""
        return {key: list(value) if isinstance(value, list) else value for key, value in self._metrics.items()}

    def state_dict(self) -> State:
        """Everything that the future depends on, as arrays, numbers, strings and lists."""
        return {
            "format": STATE_FORMAT,
            "controller": self.name,
            "options": self._options(),
            "plans_made": self.plans_made,
            "steps_seen": self.steps_seen,
            "prompts": self.classifier.state_dict(),
            "outstanding": [pack(pending) for pending in self._outstanding],
            "awaiting_losses": [pack(pending) for pending in self._awaiting_losses],
            "metrics": self.metrics(),
            "method": self._state(),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from a state as if nothing had happened.

        Raises:
            StateError: another controller or another format saved it, an option differs, or it is damaged; names the
                key. The controller is then as it was before.
        """
        loaded = type(self)(**{field.name: getattr(self, field.name) for field in fields(self)})
        loaded._restore(state)
        vars(self).update(vars(loaded))

    def _restore(self, state: State) -> None:
        for key, mine in (("format", STATE_FORMAT), ("controller", self.name)):
            if not isinstance(state, dict) or state.get(key) != mine:
                raise StateError(f"the state is not this controller's: it lacks {key}={mine!r}")
        saved, options = read_state(state, "options"), self._options()
        for option in sorted(options.keys() | saved.keys()):
            if option not in saved or option not in options or saved[option] != options[option]:
                raise StateError(
                    f"the state was saved with {option}={saved.get(option)!r}, "
                    f"this controller has {options.get(option)!r}"
                )
        self.classifier.load_state_dict(read_state(state, "prompts"))
        ids = self.classifier.table.ids
        self.plans_made, self.steps_seen = read_int(state, "plans_made"), read_int(state, "steps_seen")
        self._outstanding = [unpack(packed, ids, self.bins) for packed in read_states(state, "outstanding")]
        self._awaiting_losses = [unpack(packed, ids, self.bins) for packed in read_states(state, "awaiting_losses")]
        self._metrics = read_state(state, "metrics")
        self._metrics = self.metrics()
        self._load_state(read_state(state, "method"))

    # What a method overrides.

    def _admit(self, ids: tuple[str, ...], bins: Ints) -> None:
        """Refuse a batch for which an option leaves no room, before it is planned. Changes nothing."""

    def _allocate(self, ids: tuple[str, ...], rows: Ints, bins: Ints, keys: Keys) -> tuple[Ints, Floats]:
        """Rollouts (M,) with sum M * nbar, and the bins' demand (B,) before it was made exact. Changes nothing."""
        return np.full(len(rows), self.mean_rollouts), np.full(self.bins, float(self.mean_rollouts))

    def _rank(self, ids: tuple[str, ...], rows: Ints, keys: Keys) -> Floats:
        """(N,) rank of each candidate, the lowest first; rows are -1 for a prompt never planned. Changes nothing."""
        raise NotImplementedError

    def _weigh(self, outcome: Outcome) -> Floats:
        """Weights (M,) of the prompts."""
        return np.ones(len(outcome.bins))

    def _advantage_terms(self, outcome: Outcome) -> tuple[Floats, Floats] | None:
        """Baselines and deviations (M,) of `Feedback`; None for advantages against the group's own mean."""
        return None

    def _learn(self, outcome: Outcome) -> None:
        """Take in a step, after its weights."""

    def _learn_losses(self, batch: Pending, losses: Floats) -> None:
        """Take in surrogate losses (M,)."""

    def _method_metrics(self) -> dict[str, Metric]:
        return {}

    def _state(self) -> State:
        return {}

    def _load_state(self, state: State) -> None:
        """Restore what `_state` gave."""

    # What they share.

    def _check_options(self) -> None:
        if not 1 <= self.min_rollouts <= self.mean_rollouts <= self.max_rollouts:
            raise OptionError(
                f"rollouts must satisfy 1 <= min_rollouts <= mean_rollouts <= max_rollouts, not "
                f"{self.min_rollouts} <= {self.mean_rollouts} <= {self.max_rollouts}"
            )
        if len(self.reward_range) != 2 or not 1e-100 <= self.reward_range[1] - self.reward_range[0] <= 1e100:
            raise OptionError(
                f"reward_range={self.reward_range} must be two numbers, the lower first, 1e-100 to 1e100 apart"
            )
        if self.max_outstanding < 1:
            raise OptionError(f"max_outstanding={self.max_outstanding} must be at least 1")

    def _options(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, (tuple, list)) else value for name, value in values.items()}

    def _outcome(self, plan: Pending, rewards: Ragged) -> Outcome:
        wrong = np.flatnonzero(rewards.counts != plan.rollouts)
        if wrong.size:
            prompt = int(wrong[0])
            raise RewardError(
                f"prompt {plan.prompt_ids[prompt]!r} was planned {plan.rollouts[prompt]} rollouts but has "
                f"{rewards.counts[prompt]} rewards; score every rollout, or cancel the plan"
            )
        unit, outside = signals.rescale(rewards, *self.reward_range)
        if outside:
            self._report_outside(plan, rewards)
        return Outcome(plan, rewards, unit, count_correct(rewards, self.correct_threshold), outside)

    def _report_outside(self, plan: Pending, rewards: Ragged) -> None:
        """Rewards lie outside the declared range: an error where baselines follow from it, else a warning."""
        low, high = self.reward_range
        what = "set the controller's option reward_range=(lowest, highest) to that of your rewards"
        if self.sets_baselines:
            row = int(np.argmax(np.maximum(low - rewards.values, rewards.values - high)))
            prompt = plan.prompt_ids[int(np.searchsorted(rewards.starts, row, side="right")) - 1]
            raise RewardError(
                f"prompt {prompt!r} has a reward of {rewards.values[row]:g}, outside reward_range={self.reward_range}, "
                f"by which {self.name!r} sets its baselines; {what}, or baseline='group'"
            )
        warnings.warn(
            f"rewards outside reward_range={self.reward_range} count as its nearer end (metric out_of_range); {what}",
            stacklevel=4,
        )

    def _describe(self, outcome: Outcome, weights: Floats) -> dict[str, Metric]:
        shared = batch_metrics(outcome, weights, self.classifier, self.steps_seen)
        return shared | self._method_metrics()
