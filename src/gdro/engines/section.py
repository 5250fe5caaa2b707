"""The `gdro` section of an engine's own configuration, as verl and slime have it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gdro.controllers.registry import SLOTS, controller_options
from gdro.core.errors import OptionError
from gdro.engines.compat import DEFAULT_CONTROLLER, EngineTraits, build_controller, states_range
from gdro.engines.interface import Controller
from gdro.engines.session import Weighting, check_weighting

OWN_KEYS = ("controller", "weighting", "fresh", "candidates", "objective")


@dataclass(frozen=True, slots=True)
class EngineSection:
    """What stands under `gdro`.

    Attributes:
        controller: a name, or a composition, as `gdro.make_controller` takes it.
        weighting: see `gdro.engines.session.ControllerSession`.
        fresh: start with an empty controller where a resumed checkpoint has no gdro state.
        candidates: prompts offered to a controller that selects per prompt trained on; None for its
            own number.
        objective: of `gdro.objectives`, a name or a mapping of its name and options.
        options: every other key, given to the controller.
    """

    controller: str | Mapping[str, Any] = DEFAULT_CONTROLLER
    weighting: Weighting = "prompt"
    fresh: bool = False
    candidates: int | None = None
    objective: str | Mapping[str, Any] = "grpo"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def range_stated(self) -> bool:
        """Whether the user said which rewards to expect."""
        return states_range(self.controller, self.options)

    def build(self, traits: EngineTraits) -> Controller:
        """The controller that the section names.

        Raises:
            OptionError: an option that is unknown or out of range, or one that this engine, as it
                is set up, cannot go with.
        """
        known = {
            *SLOTS,
            *(
                controller_options(self.controller)
                if isinstance(self.controller, str)
                else self.options
            ),
        }
        for key in self.options.keys() - known:
            if near := difflib.get_close_matches(key, OWN_KEYS, n=1, cutoff=0.8):
                raise OptionError(f"gdro has no option {key!r}; did you mean {near[0]!r}?")
        return build_controller(self.controller, self.options, traits, self.candidates)


def read_section(section: Any) -> EngineSection:
    """The section, from plain nested dictionaries; None for one that is not there.

    Raises:
        OptionError: a `gdro` key of the wrong kind.
    """
    section = section or {}
    if not isinstance(section, Mapping):
        raise OptionError(
            f"gdro={section!r} must hold keys, such as controller: {DEFAULT_CONTROLLER}"
        )
    controller = section.get("controller", EngineSection().controller)
    weighting, fresh = section.get("weighting", "prompt"), section.get("fresh", False)
    if not isinstance(controller, (str, Mapping)):
        raise OptionError(
            f"gdro.controller={controller!r} must be the name of a controller, or a composition"
        )
    check_weighting(weighting, "gdro.weighting")
    if not isinstance(fresh, bool):
        raise OptionError(f"gdro.fresh={fresh!r} must be true or false")
    objective = section.get("objective", "grpo")
    if not isinstance(objective, (str, Mapping)):
        raise OptionError(
            f"gdro.objective={objective!r} must be a name, or a mapping of a name and options"
        )
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in section.items()
        if key not in OWN_KEYS
    }
    return EngineSection(
        controller, weighting, fresh, section.get("candidates"), objective, options
    )
