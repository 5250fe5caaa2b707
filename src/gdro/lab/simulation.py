"""One simulated run: a controller, a population and a learner, step by step, measured against the
truth.

The true success rates are known here, so a trace holds what no real run can show: how far the
rollouts are from the square-root law of the TRUE variances, and the true variance of the batch's
mean.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gdro.controllers.controller import Controller
from gdro.controllers.making import make_controller
from gdro.core.budget import project
from gdro.core.errors import OptionError
from gdro.core.types import UNSEEN, Floats, Ints, Plan
from gdro.lab.world import (
    Examination,
    Learner,
    Learning,
    Population,
    World,
    baseline_signal,
    draw_population,
    surrogate_losses,
)

MOST_OUTSTANDING = 64
TRUE_BINS = 10
OFF_POLICY = 1e-3
"""Size of the surrogate losses that small off-policy drift leaves."""


@dataclass(frozen=True)
class SimulationSettings:
    """One simulation, whatever the controller.

    Attributes:
        steps: training steps.
        batch: prompts a step, M.
        mean_rollouts: nbar.
        pool: a selecting method chooses its batch among pool * M candidates; the others take the
            first M of them.
        delay: steps between a plan and its rewards; the rewards are drawn when the plan is made.
        every: steps between evaluations.
        held_out: prompts of the evaluation.
    """

    steps: int = 1000
    batch: int = 64
    mean_rollouts: int = 4
    pool: int = 4
    delay: int = 0
    every: int = 50
    held_out: int = 4000
    world: World = field(default_factory=World)
    learning: Learning = field(default_factory=Learning)


@dataclass
class Trace:
    """What a run measured: one number a step or an evaluation, under names that docs/performance.md
    explains."""

    method: str
    seed: int
    steps: dict[str, list[float]] = field(default_factory=dict)
    evaluations: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **values: float) -> None:
        """Append to the values of the steps."""
        for name, value in values.items():
            self.steps.setdefault(name, []).append(float(value))

    def score(self, scores: dict[str, float]) -> None:
        """Append to the values of the evaluations."""
        for name, value in scores.items():
            self.evaluations.setdefault(name, []).append(value)


def simulate(method: str, seed: int, settings: SimulationSettings) -> Trace:
    """Run one method; the same seed gives the same population, candidates and start to all.

    Args:
        method: a controller of the registry, with options after a colon:
            `prompt_gdro:adversary=hedge,eta=2`.

    Raises:
        OptionError: an unknown controller or option, or settings that do not fit together.
    """
    check_settings(settings)
    world = settings.world
    prompts = draw_population(world, world.prompts, seed, 0)
    examination = Examination(draw_population(world, settings.held_out, seed, 1))
    controller = controller_of(method, mean_rollouts=settings.mean_rollouts, seed=seed)
    if controller.needs_tokens:
        raise OptionError(
            f"method {method!r} pays by tokens, and rollouts of the simulated world have none; set"
            " token_power to 0"
        )
    controller.describe(prompts.ids, prompts.ids)  # the texts of a world without texts
    start = np.zeros(world.dimensions)
    learner = Learner(start, settings.learning)
    trace, waiting = Trace(method, seed), deque[tuple[Plan, Ints, list[Floats]]]()
    trace.score(examination.hold(0, learner.theta))
    for step in range(settings.steps):
        rng = np.random.default_rng((seed, 10, step))
        rows = _candidates(controller, prompts, settings, rng)
        plan = controller.plan([prompts.ids[row] for row in rows.tolist()])
        rates = prompts.rates(learner.theta, rows)
        trace.add(**_against_truth(controller, plan, rates))
        waiting.append((plan, rows, _rollouts(plan, rates, rng)))
        if len(waiting) > settings.delay:
            _train(controller, learner, prompts, *waiting.popleft(), trace, rng)
        learner.rest(start, rng)
        if (step + 1) % settings.every == 0 or step + 1 == settings.steps:
            trace.score(examination.hold(step + 1, learner.theta))
    return trace


def controller_of(method: str, **options: Any) -> Controller:
    """The controller of `name` or `name:option=value,...`; values are read as JSON, else as text.

    A name may be `path/to/file.py:Class`; an option of a part is `weigher.gamma=0.02`.

    Raises:
        OptionError: an unknown controller or option, or an option without a value.
    """
    file, own, rest = method.rpartition(".py:")
    name, _, given = rest.partition(":")
    name = f"{file}{own}{name}"
    for pair in filter(None, given.split(",")):
        option, equals, value = pair.partition("=")
        if not equals:
            raise OptionError(f"method {method!r}: {pair!r} must read option=value")
        slot, dot, inner = option.partition(".")
        target = options.setdefault(slot, {}) if dot else options
        try:
            target[inner or option] = json.loads(value)
        except json.JSONDecodeError:
            target[inner or option] = value
    return make_controller(name, **options)


def check_settings(settings: SimulationSettings) -> None:
    """Raises OptionError for settings that no simulation can have."""
    for name, least in (
        ("steps", 1),
        ("batch", 1),
        ("pool", 1),
        ("delay", 0),
        ("every", 1),
        ("held_out", 10),
    ):
        if getattr(settings, name) < least:
            raise OptionError(f"{name}={getattr(settings, name)} must be at least {least}")
    if settings.batch > settings.world.prompts:
        raise OptionError(
            f"batch={settings.batch} must not exceed the {settings.world.prompts} prompts"
        )
    longest = min(settings.steps, MOST_OUTSTANDING)
    if settings.delay >= longest:
        raise OptionError(
            f"delay={settings.delay} must be below {longest}, the steps and the plans that may wait"
        )


def _candidates(
    controller: Controller,
    prompts: Population,
    settings: SimulationSettings,
    rng: np.random.Generator,
) -> Ints:
    """(M,) rows of the batch."""
    rows = rng.choice(
        len(prompts.ids), min(settings.pool * settings.batch, len(prompts.ids)), replace=False
    )
    if not controller.selects:
        return rows[: settings.batch]
    by_id = {prompts.ids[row]: row for row in rows.tolist()}
    return np.array(
        [by_id[prompt_id] for prompt_id in controller.select(list(by_id), settings.batch)]
    )


def _rollouts(plan: Plan, rates: Floats, rng: np.random.Generator) -> list[Floats]:
    right = (rng.random(plan.total) < np.repeat(rates, plan.rollouts)).astype(np.float64)
    return np.split(right, np.cumsum(plan.rollouts)[:-1])


def _train(
    controller: Controller,
    learner: Learner,
    prompts: Population,
    plan: Plan,
    rows: Ints,
    rewards: list[Floats],
    trace: Trace,
    rng: np.random.Generator,
) -> None:
    feedback = controller.observe(plan.prompt_ids, rewards)
    correct = np.array([int(group.sum()) for group in rewards])
    sums = baseline_signal(correct, plan.rollouts, prompts.rates(learner.theta, rows), feedback)
    learner.learn(prompts.features[rows], correct, plan.rollouts, feedback.weights, rng, sums)
    if controller.needs_losses:
        controller.observe_losses(plan.prompt_ids, surrogate_losses(plan.rollouts, OFF_POLICY, rng))
    seen = controller.metrics()
    live = (correct > 0) & (correct < plan.rollouts)
    trace.add(
        live_groups=float(live.mean()),
        live_weight=float(feedback.weights[live].sum() / feedback.weights.sum()),
        signal_share=learner.signal_share,
        wse_change=_ratio(seen["wse"], seen["wse_uniform"]),
        regret=_number(seen.get("regret", np.nan)),
        regret_bound=_number(seen.get("regret_bound", np.nan)),
        unseen=_number(seen["unseen_share"]),
    )


def _against_truth(controller: Controller, plan: Plan, rates: Floats) -> dict[str, float]:
    """A plan against the true rates: distance from the law, variance of the batch, error of the
    estimates.

    The law is that of the true variances, by ten even bins of the true rate and within the default
    bounds: the same yardstick for every method, also for one that has no bins or no bounds of its
    own.
    """
    variance, mean = rates * (1.0 - rates), controller.mean_rollouts
    true_bin = np.minimum((rates * TRUE_BINS).astype(np.int64), TRUE_BINS - 1)
    by_bin = _bin_means(variance, true_bin)
    law = project(np.sqrt(by_bin), mean * float(len(rates)), min(2, mean), max(12, 3 * mean))
    seen = plan.bins != UNSEEN
    estimate = controller.belief(plan.prompt_ids).rate
    return {
        "law_distance": float(np.abs(_bin_means(plan.rollouts - law, true_bin)).mean() / mean),
        "variance_change": float((variance / plan.rollouts).sum() / (variance / mean).sum() - 1.0),
        "estimate_error": float(np.abs(estimate[seen] - rates[seen]).mean())
        if seen.any()
        else float("nan"),
    }


def _bin_means(values: Floats, bins: Ints) -> Floats:
    """(M,) each prompt's value replaced by the mean over its bin in this batch."""
    size = np.bincount(bins, minlength=TRUE_BINS)
    return (np.bincount(bins, weights=values, minlength=TRUE_BINS) / np.maximum(size, 1))[bins]


def _ratio(above: Any, below: Any) -> float:
    return float(above) / float(below) - 1.0 if float(below) > 0.0 else float("nan")


def _number(value: Any) -> float:
    return float(value)
