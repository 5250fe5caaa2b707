"""What an engine refuses: every rule once, in one wording, before anything starts.

An adapter describes its engine, as this run sets it up, by `EngineTraits`. `disagreements` are
between its own settings, `refusals` between those and a controller; `gdro train` asks for both and
names the keys of its settings. What one engine alone knows of (verl's filters, slime's sampling
flags ...) stays with its adapter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from gdro.controllers.making import check_run, make_controller
from gdro.core.errors import OptionError
from gdro.engines.candidates import candidate_factor
from gdro.engines.interface import Controller, leaves_choice, require_controller

DEFAULT_CONTROLLER = "text_gdro"
"""Of every engine. It needs no labels and acts from the first step, where a controller that weighs
by difficulty waits for prompts to return."""

WITH_BASELINE = ("grpo", "dr_grpo", "batch")
"""Advantages in which a controller's own baseline can take the place of the group's mean."""

GROUP_LOSSES = ("disco", "direct_reward")
"""Objectives that are losses of their own, in the place of the clipped one."""

Rounds = Literal["dynamic_sampling", "reinforce_ada", "hora", "c_grpo"]
"""What may generate several times before an update (`gdro.engines.trl.rounds`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTraits:
    """An engine as a run sets it up.

    Attributes:
        name: as messages call it.
        mean_rollouts: of a prompt, as the engine is set.
        mean_setting: the engine's name for that.
        advantage: what the engine computes: grpo, dr_grpo, rloo, batch (divided by the deviation of
            the whole batch), or the engine's own name for another.
        ddof: of its standard deviation.
        advantage_hint: how the user sets the engine to `grpo`.
        no_losses: why each prompt's loss cannot be had; None where it can.
        no_baselines: why rewards cannot be compared with a controller's own baseline; None where
            they can.
        no_choice: why prompts cannot be chosen; None where they can.
        least_rollouts: fewest rollouts of a prompt that the engine handles.
        least_reason: why not fewer.
        objective: what an update maximises, a name of `gdro.objectives`.
        beta: weight of the KL term to the base.
        num_iterations: updates on the same rollouts.
        rounds: how rollouts are generated; None for one round.
        rounds_within_budget: whether the run as a whole spends what one round a step would.
    """

    name: str
    mean_rollouts: int
    mean_setting: str
    advantage: str
    ddof: int
    advantage_hint: str
    no_losses: str | None = None
    no_baselines: str | None = None
    no_choice: str | None = None
    least_rollouts: int = 1
    least_reason: str = ""
    objective: str = "grpo"
    beta: float = 0.0
    num_iterations: int = 1
    rounds: str | None = None
    rounds_within_budget: bool = False

    @property
    def corrected(self) -> str:
        """The advantage as controllers that correct for it know it. Dividing a whole batch by one
        number changes no prompt's weight relative to another's."""
        return "dr_grpo" if self.advantage == "batch" else self.advantage


def build_controller(
    controller: str | Mapping[str, Any],
    options: Mapping[str, Any],
    traits: EngineTraits,
    candidates: int | None = None,
) -> Controller:
    """The controller of a run, with what the engine's own settings say filled in.

    These are its mean rollouts and, where it corrects for the engine's advantage (MaxRL, DARO),
    which one that is.

    Args:
        controller: a name, or a composition, as `gdro.make_controller` takes it.

    Raises:
        OptionError: an option that is unknown, out of range or the engine's to set; or as
            `check_engine`.
    """
    if "mean_rollouts" in options:
        raise OptionError(f"mean_rollouts is set by {traits.mean_setting}; remove it")
    made: Controller = make_controller(
        controller, run=_facts(traits), mean_rollouts=traits.mean_rollouts, **options
    )
    check_engine(made, traits, candidates)
    return made


def states_range(controller: str | Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether the user said which rewards to expect: in the composition, or in its options."""
    composition = {} if isinstance(controller, str) else controller
    return "reward_range" in {**composition, **options}


def check_settings(engine: EngineTraits) -> None:
    """Refuse settings of an engine that do not go together.

    Raises:
        OptionError: names the setting and what to do.
    """
    for setting, message in disagreements(engine):
        raise OptionError(f"{setting}={getattr(engine, setting)!r}: {message}")


def disagreements(engine: EngineTraits) -> Iterator[tuple[str, str]]:
    """What of an engine's settings does not go together, whatever the controller: the setting (a
    name of `EngineTraits`), and why."""
    rounds = engine.rounds
    if rounds not in (None, *get_args(Rounds)):
        yield "rounds", f"choose one of {', '.join(get_args(Rounds))}, or none"
    if rounds is None and engine.rounds_within_budget:
        yield "rounds_within_budget", "needs rounds; one round never exceeds the budget"
    if engine.num_iterations > 1 and engine.rounds_within_budget:
        yield "num_iterations", "must be 1 with rounds_within_budget"
    if rounds == "reinforce_ada" and engine.advantage != "grpo":
        what = "has a mean and a spread of all its rounds to compare rewards with"
        yield "advantage", f"rounds {rounds} {what}; set {engine.advantage_hint}"
    if engine.objective in GROUP_LOSSES and engine.beta != 0.0:
        what = f"must be 0 with objective {engine.objective}, which has no KL term to the base"
        yield "beta", what


def check_engine(
    controller: Controller, traits: EngineTraits, candidates: int | None = None
) -> None:
    """Refuse a controller that this engine cannot run as it is set up.

    Args:
        candidates: prompts to offer per prompt trained on, as the user asked; None for the
            controller's own number.

    Raises:
        OptionError: says what does not go together, and what to do.
    """
    require_controller(controller)
    for _, message in refusals(controller, traits, candidates):
        raise OptionError(message)


def refusals(
    controller: Controller, traits: EngineTraits, candidates: int | None = None
) -> Iterator[tuple[str, str]]:
    """What of a controller does not go with the engine: about what (mean_rollouts, min_rollouts,
    losses, rounds, advantage or candidates), and what to do."""
    who = f"controller {controller.name!r}"
    yield from _of_rollouts(controller, traits, who)
    if (no_losses := _no_losses(traits)) is not None and controller.needs_losses:
        yield (
            "losses",
            f"{who} needs each prompt's surrogate loss, and {no_losses}; choose signal='failure'"
            " and utility='variance', or another controller",
        )
    if traits.rounds is not None and not leaves_choice(controller):
        yield (
            "rounds",
            f"rounds {traits.rounds} takes the place of a controller's choice, and {who} makes one;"
            " take controller uniform",
        )
    yield from _of_the_advantage(controller, traits, who)
    try:
        chooses = candidate_factor(controller, candidates) is not None
    except OptionError as error:
        yield "candidates", str(error)
        return
    if chooses and traits.no_choice is not None:
        yield (
            "candidates",
            f"{who} chooses the prompts, and {traits.no_choice}; take a controller that does not",
        )


def _of_rollouts(
    controller: Controller, traits: EngineTraits, who: str
) -> Iterator[tuple[str, str]]:
    if controller.mean_rollouts != traits.mean_rollouts:
        yield (
            "mean_rollouts",
            f"{who} plans {controller.mean_rollouts} rollouts a prompt on average,"
            f" {traits.mean_setting} is {traits.mean_rollouts}; make them equal",
        )
    if controller.min_rollouts < traits.least_rollouts:
        yield (
            "min_rollouts",
            f"min_rollouts={controller.min_rollouts} of {who} must be at least"
            f" {traits.least_rollouts} in {traits.name}: {traits.least_reason}",
        )


def _no_losses(traits: EngineTraits) -> str | None:
    """Why each prompt's surrogate loss cannot be had; None where it can."""
    if traits.objective in GROUP_LOSSES:
        return f"objective {traits.objective!r} is a loss on whole groups"
    return traits.no_losses


def _of_the_advantage(
    controller: Controller, traits: EngineTraits, who: str
) -> Iterator[tuple[str, str]]:
    own = f"{who} compares rewards with a baseline of its own"
    if controller.sets_baselines and traits.no_baselines is not None:
        yield "advantage", f"{own}, and {traits.no_baselines}; set its option baseline='group'"
    elif controller.sets_baselines and traits.advantage not in WITH_BASELINE:
        yield (
            "advantage",
            f"{own}, which does not go with the advantage {traits.advantage!r}; set"
            f" {traits.advantage_hint}, or its option baseline='group'",
        )
    try:
        check_run(controller, _facts(traits))
    except OptionError as error:
        yield "advantage", str(error)


def _facts(traits: EngineTraits) -> dict[str, Any]:
    """What parts that correct for the advantage must know of it. Without a standard deviation in
    it, none has to agree."""
    facts: dict[str, Any] = {"advantage": traits.corrected}
    return facts | {"ddof": traits.ddof} if traits.corrected == "grpo" else facts
