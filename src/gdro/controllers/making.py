"""Controllers from plain values, as settings files hold them: by name, or composed of parts."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from gdro.controllers.controller import Controller
from gdro.controllers.part import Estimator, Part
from gdro.controllers.parts import Parts
from gdro.controllers.parts.estimators import PromptPosterior, SourcePosterior
from gdro.controllers.presets import PRESETS, Preset
from gdro.controllers.registry import FACTS, PARTS, SLOTS, did_you_mean, own_code, preset_named
from gdro.core.errors import OptionError
from gdro.own_code import is_own


def make_controller(
    controller: str | Mapping[str, Any] = "uniform",
    *,
    run: Mapping[str, Any] | None = None,
    **options: Any,
) -> Controller:
    """A controller by name, or composed of parts.

        make_controller("joint", mean_rollouts=16, eta=2.0)
        make_controller("live_gdro", baseline="group")                       another part
        make_controller("prompt_gdro", estimator={"statistic": "any_of_n"})  an option of a part
        make_controller(
            {
                "selector": "live",
                "allocator": "sqrt_law",
                "weigher": {"name": "adversary", "eta": 3},
            }
        )

    Args:
        controller: one of `controller_names()`; `path/to/file.py:name` for a part or a preset of
            one's own (docs/extending.md); or a mapping of such a `name` (without one: plain GRPO)
            and options.
        run: what an engine knows of its run, for parts whose options follow from it where they are
            left out: `horizon` (steps), `advantage` (grpo, dr_grpo) and `ddof` (of its standard
            deviation).
        options: the facts of the run (`mean_rollouts`, `reward_range`, ...), options of the preset,
            and parts for the slots estimator, selector, allocator, weigher and baseline: a name, a
            mapping of a name and options, or a `Part`. Where no name is given the estimator follows
            from what the parts need.

    Raises:
        OptionError: an unknown name or option (with the nearest known one), a value out of range,
            or parts that do not go together.
    """
    if isinstance(controller, Mapping):
        named = dict(controller)
        name = named.pop("name", None)
        options = named | options
    else:
        name = controller
    facts = {key: options.pop(key) for key in FACTS if key in options}
    slots = {key: options.pop(key) for key in SLOTS if key in options}
    parts = _with_slots(_preset_parts(name or "uniform", options), slots)
    _refuse_inert(name or "uniform", options, slots, parts)
    if name is None and "estimator" not in slots:
        parts = parts.having(estimator=_estimator_for(parts))
    parts = _filled_from_run(parts, run or {})
    return Controller(parts, name=name or _composed_name(parts), **facts)


def check_run(controller: object, run: Mapping[str, Any]) -> None:
    """Raise an OptionError where a part was made for another run, e.g. corrects for another
    advantage."""
    if isinstance(controller, Controller):
        _filled_from_run(
            controller.parts,
            {"advantage": "grpo", "ddof": 0} | dict(run),
            alone={"advantage": "grpo", "ddof": 0},
        )


def _filled_from_run(
    parts: Parts, run: Mapping[str, Any], alone: Mapping[str, Any] | None = None
) -> Parts:
    """The parts with what follows from the run filled in; `alone`: what None stands for in parts
    already made."""
    filled: dict[str, Part] = {}
    present: dict[str, Part] = {
        slot: part for slot, part in parts.named().items() if part is not None
    }
    for slot, part in present.items():
        for key in part.from_run:
            said = getattr(part, key)
            said = (alone or {}).get(key) if said is None else said
            if key in run and said is None:
                filled[slot] = replace(filled.get(slot, part), **{key: run[key]})
            elif key in run and key != "horizon" and said != run[key]:
                raise OptionError(
                    f"{key}={said!r} of {slot} {part.name!r}: it corrects for the engine's"
                    f" advantage, which has {key}={run[key]!r}; make them agree"
                )
    return parts.having(**filled)


def _preset_parts(name: str, options: Mapping[str, Any]) -> Parts:
    """The parts of a preset with these options."""
    preset = preset_named(name)
    known = inspect.signature(preset).parameters
    for option in options:
        if option not in known:
            raise OptionError(
                f"controller {name!r} has no option {option!r}{_where_it_is(option, preset)}"
            )
    return preset(**options)


def _where_it_is(option: str, preset: Preset) -> str:
    """Where an option is that the preset does not have."""
    for slot, part in preset().named().items():
        if part is not None and option in {entry.name for entry in fields(part)}:
            return f"; it is one of its {slot}: give {slot}={{{option!r}: ...}}"
    others = [
        name for name, other in PRESETS.items() if option in inspect.signature(other).parameters
    ]
    if others:
        return f"; it is an option of {', '.join(others)}"
    return did_you_mean(option, [*FACTS, *SLOTS, *inspect.signature(preset).parameters])


def _with_slots(parts: Parts, slots: Mapping[str, Any]) -> Parts:
    """The parts with some of them replaced."""
    present = parts.named()
    return parts.having(
        **{slot: _part(slot, wanted, present[slot]) for slot, wanted in slots.items()}
    )


def _refuse_inert(
    name: str, options: Mapping[str, Any], slots: Mapping[str, Any], parts: Parts
) -> None:
    """Raise an OptionError for an option of the preset whose part was replaced: it would change
    nothing."""
    known = inspect.signature(preset_named(name)).parameters
    for option in [key for key, value in options.items() if slots and value != known[key].default]:
        others = {key: value for key, value in options.items() if key != option}
        try:
            same = _with_slots(_preset_parts(name, others), slots).options() == parts.options()
        except OptionError:  # the others do not go without it
            same = False
        if same:
            raise OptionError(
                f"{option}={options[option]!r} would change nothing: it is of a part of {name!r}"
                f" that you replace ({', '.join(slots)}); leave it out, or give it to the new part"
            )


def _part(slot: str, wanted: Any, present: Part | None) -> Part | None:
    """The part for a slot: by name, by name and options, by other options of the present one, or as
    it is."""
    if isinstance(wanted, SLOTS[slot]):
        return wanted
    if wanted is None and slot == "selector":
        return None
    given = {"name": wanted} if isinstance(wanted, str) else wanted
    if not isinstance(given, Mapping):
        raise OptionError(
            f"{slot}={wanted!r} is none of a name, a mapping of a name and options, or a {slot}"
        )
    options = dict(given)
    if "name" not in options and present is None:
        raise OptionError(f"{slot}={wanted!r} lacks a name; known: {', '.join(PARTS[slot])}")
    if present is None or "name" in options:
        kind = _part_class(slot, options.pop("name"))
    else:
        kind = type(present)
    known = {entry.name for entry in fields(kind)}
    for option in options:
        if option not in known:
            hint = did_you_mean(option, sorted(known))
            raise OptionError(f"{slot} {kind.name!r} has no option {option!r}{hint}")
    return (
        replace(present, **options)
        if present is not None and type(present) is kind
        else kind(**options)
    )


def _part_class(slot: str, name: Any) -> type[Part]:
    if isinstance(name, str) and is_own(name):
        found = own_code(name)
        if isinstance(found, type) and issubclass(found, SLOTS[slot]):
            return found
        raise OptionError(
            f"{slot}: {name} is no {slot}; derive its class from gdro.{SLOTS[slot].__name__}"
        )
    if not isinstance(name, str) or name not in PARTS[slot]:
        raise OptionError(
            f"no {slot} is called {name!r}{did_you_mean(str(name), list(PARTS[slot]))}"
        )
    return PARTS[slot][name]


def _estimator_for(parts: Parts) -> Estimator:
    """The first estimator that gives what the other parts need."""
    needs = frozenset().union(*(part.needs for part in parts))
    return next(
        found
        for found in (parts.estimator, PromptPosterior(), SourcePosterior())
        if needs <= found.gives
    )


def _composed_name(parts: Parts) -> str:
    """What a composition is called: the parts that plain GRPO does not have."""
    plain = Parts().named()
    own = [
        part.name
        for slot, part in parts.named().items()
        if slot != "estimator" and part is not None and type(part) is not type(plain[slot])
    ]
    return "+".join(own) or "uniform"
