"""Which controllers an engine can run: every refusal, once, in one wording, before anything starts.

An adapter describes its engine, as this run sets it up, by `EngineTraits`. What follows from the
engine's own settings alone (verl's filters, slime's sampling flags ...) stays with the adapter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gdro.controllers.registry import check_run, make_controller
from gdro.core.errors import OptionError
from gdro.engines.candidates import candidate_factor
from gdro.engines.interface import Controller, require_controller

DEFAULT_CONTROLLER = "text_gdro"
"""Of every engine. It needs no labels and acts from the first step, where a controller that weighs
by difficulty waits for prompts to return."""

WITH_BASELINE = ("grpo", "dr_grpo", "batch")
"""Advantages in which a controller's own baseline can take the place of the group's mean."""


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
    """All that does not go together: about what (mean_rollouts, min_rollouts, losses,
    advantage or candidates), and what to do."""
    who = f"controller {controller.name!r}"
    if controller.mean_rollouts != traits.mean_rollouts:
        yield (
            "mean_rollouts",
            (
                f"{who} plans {controller.mean_rollouts} rollouts a prompt on average, "
                f"{traits.mean_setting} is {traits.mean_rollouts}; make them equal"
            ),
        )
    if controller.min_rollouts < traits.least_rollouts:
        yield (
            "min_rollouts",
            (
                f"min_rollouts={controller.min_rollouts} of {who} must be at least "
                f"{traits.least_rollouts} in {traits.name}: {traits.least_reason}"
            ),
        )
    if controller.needs_losses and traits.no_losses is not None:
        yield (
            "losses",
            (
                f"{who} needs each prompt's loss, and {traits.no_losses}; choose signal='failure'"
                " and utility='variance', or another controller"
            ),
        )
    if controller.sets_baselines and traits.no_baselines is not None:
        yield (
            "advantage",
            (
                f"{who} compares rewards with a baseline of its own, and {traits.no_baselines}; set"
                " its option baseline='group'"
            ),
        )
    elif controller.sets_baselines and traits.advantage not in WITH_BASELINE:
        yield (
            "advantage",
            (
                f"{who} compares rewards with a baseline of its own, which does not go with the "
                f"advantage {traits.advantage!r}; set {traits.advantage_hint}, or its option "
                "baseline='group'"
            ),
        )
    try:
        check_run(controller, _facts(traits))
    except OptionError as error:
        yield "advantage", str(error)
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


def _facts(traits: EngineTraits) -> dict[str, Any]:
    """What parts that correct for the advantage must know of it. Without a standard deviation in
    it, none has to agree."""
    facts: dict[str, Any] = {"advantage": traits.corrected}
    return facts | {"ddof": traits.ddof} if traits.corrected == "grpo" else facts
