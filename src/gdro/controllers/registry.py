"""Controllers by name, or composed of parts by name, from plain values as settings files hold
them."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, cast

from gdro.controllers.contrib.adarft import AdaRFT
from gdro.controllers.contrib.boltzmann import DUMP, SEC
from gdro.controllers.contrib.centred import BBG, CurveRL, MaxRL
from gdro.controllers.contrib.daro import DARO
from gdro.controllers.contrib.dppo import DPPO
from gdro.controllers.contrib.gains import HORA, VIP, Knapsack, Neyman
from gdro.controllers.contrib.greso import GRESO
from gdro.controllers.contrib.mopps import MoPPS
from gdro.controllers.contrib.mt_grpo import MTGRPO
from gdro.controllers.controller import Controller
from gdro.controllers.part import Allocator, Baseline, Estimator, Part, Selector, Weigher
from gdro.controllers.parts import Parts
from gdro.controllers.parts.allocators import (
    LiveGroups,
    RandomRagged,
    ShadowPrice,
    SqrtLaw,
    Uniform,
)
from gdro.controllers.parts.baselines import Group, Posterior
from gdro.controllers.parts.estimators import (
    Classifier,
    PromptPosterior,
    SourcePosterior,
    TextPosterior,
)
from gdro.controllers.parts.selectors import Live
from gdro.controllers.parts.weighers import BinAdversary, Ones
from gdro.controllers.presets import PRESETS, Preset
from gdro.core.errors import OptionError
from gdro.own_code import OwnCodeError, is_own, load_own

SLOTS: dict[str, type[Part]] = {
    "estimator": Estimator,
    "selector": Selector,
    "allocator": Allocator,
    "weigher": Weigher,
    "baseline": Baseline,
}
PARTS: dict[str, dict[str, type[Part]]] = {
    slot: {part.name: part for part in members}
    for slot, members in {
        "estimator": (Classifier, PromptPosterior, SourcePosterior, TextPosterior),
        "selector": (Live, GRESO, MoPPS, SEC, DUMP, MTGRPO, DPPO, AdaRFT),
        "allocator": (
            Uniform,
            ShadowPrice,
            SqrtLaw,
            LiveGroups,
            Neyman,
            Knapsack,
            VIP,
            HORA,
            RandomRagged,
        ),
        "weigher": (Ones, BinAdversary, DARO, MaxRL, BBG, CurveRL),
        "baseline": (Group, Posterior),
    }.items()
}
"""The parts by slot and name."""

FACTS = tuple(
    name
    for name in inspect.signature(Controller.__init__).parameters
    if name not in ("self", "parts", "name")
)
"""Options that every controller takes: what it must know of the run."""


def controller_names() -> list[str]:
    """All presets that `make_controller` takes."""
    return list(PRESETS)


def known(name: str) -> bool:
    """Whether `make_controller` would look for a preset of that name: one of these, or
    `path/to/file.py:name`."""
    return name in PRESETS or is_own(name)


def controller_meaning(name: str) -> str:
    """One sentence on a preset, or on one of the user's own."""
    text = inspect.getdoc(_preset(name)) or "one of your own"
    return re.split(r"\.(?=\s+[A-Z]|\s*$)", text)[0]  # "eqs. 12-16" goes on


def controller_label(section: Any) -> str:
    """What settings name, as one line says it: `live_gdro`, `live_gdro, selector mopps`."""
    if not isinstance(section, Mapping):
        return str(section)
    words = [str(section.get("name") or "composition")]
    for slot in [slot for slot in SLOTS if slot in section]:
        part = section[slot]
        given = part.get("name", "changed") if isinstance(part, Mapping) else part
        words.append(f"{slot} {given or 'none'}")
    return ", ".join(words)


def part_names(slot: str) -> list[str]:
    """The parts that fit a slot, e.g. `part_names("selector")`."""
    return list(PARTS[slot])


def controller_options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a preset with their types and defaults: those of every controller first, then
    its own.

    Raises:
        OptionError: no such controller; names the nearest.
    """
    shared = inspect.signature(Controller.__init__, eval_str=True).parameters
    own = inspect.signature(_preset(name), eval_str=True).parameters
    return {fact: shared[fact] for fact in FACTS} | dict(own)


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
    parts = _with_slots(_chain(name or "uniform", options), slots)
    _refuse_inert(name or "uniform", options, slots, parts)
    if name is None and "estimator" not in slots:
        parts = parts.having(estimator=_estimator_for(parts))
    parts = _told(parts, run or {})
    return Controller(parts, name=name or _composed_name(parts), **facts)


def check_run(controller: object, run: Mapping[str, Any]) -> None:
    """Raise an OptionError where a part was made for another run, e.g. corrects for another
    advantage."""
    if isinstance(controller, Controller):
        _told(
            controller.parts,
            {"advantage": "grpo", "ddof": 0} | dict(run),
            alone={"advantage": "grpo", "ddof": 0},
        )


def _told(parts: Parts, run: Mapping[str, Any], alone: Mapping[str, Any] | None = None) -> Parts:
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


def _chain(name: str, options: Mapping[str, Any]) -> Parts:
    """The parts of a preset with these options."""
    preset = _preset(name)
    known = inspect.signature(preset).parameters
    for option in options:
        if option not in known:
            raise OptionError(
                f"controller {name!r} has no option {option!r}{_hint(option, preset)}"
            )
    return preset(**options)


def _hint(option: str, preset: Preset) -> str:
    """Where an option is that the preset does not have."""
    for slot, part in preset().named().items():
        if part is not None and option in {entry.name for entry in fields(part)}:
            return f"; it is one of its {slot}: give {slot}={{{option!r}: ...}}"
    others = [
        name for name, other in PRESETS.items() if option in inspect.signature(other).parameters
    ]
    if others:
        return f"; it is an option of {', '.join(others)}"
    return _nearest(option, [*FACTS, *SLOTS, *inspect.signature(preset).parameters])


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
    known = inspect.signature(_preset(name)).parameters
    for option in [key for key, value in options.items() if slots and value != known[key].default]:
        others = {key: value for key, value in options.items() if key != option}
        try:
            same = _with_slots(_chain(name, others), slots).options() == parts.options()
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
            raise OptionError(
                f"{slot} {kind.name!r} has no option {option!r}{_nearest(option, sorted(known))}"
            )
    return (
        replace(present, **options)
        if present is not None and type(present) is kind
        else kind(**options)
    )


def _part_class(slot: str, name: Any) -> type[Part]:
    if isinstance(name, str) and is_own(name):
        found = _own(name)
        if isinstance(found, type) and issubclass(found, SLOTS[slot]):
            return found
        raise OptionError(
            f"{slot}: {name} is no {slot}; derive its class from gdro.{SLOTS[slot].__name__}"
        )
    if not isinstance(name, str) or name not in PARTS[slot]:
        raise OptionError(f"no {slot} is called {name!r}{_nearest(str(name), list(PARTS[slot]))}")
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


def _preset(name: str) -> Preset:
    if not isinstance(name, str):
        raise OptionError(f"controller={name!r} is no name; known: {', '.join(PRESETS)}")
    if is_own(name):
        return _own_preset(name)
    if name not in PRESETS:
        raise OptionError(f"no controller is called {name!r}{_nearest(name, list(PRESETS))}")
    return PRESETS[name]


def _own_preset(where: str) -> Preset:
    """A preset of the user's own, or one that is uniform but for a part of the user's own."""
    found = _own(where)
    if isinstance(found, type) and issubclass(found, Part):
        slot = next(slot for slot, kind in SLOTS.items() if issubclass(found, kind))

        def with_part(**options: Any) -> Parts:
            return Parts().having(**{slot: found(**options)})

        with_part.__doc__ = inspect.getdoc(found)
        with_part.__signature__ = inspect.signature(found)  # type: ignore[attr-defined]
        return with_part
    if inspect.isfunction(found):
        return cast(Preset, found)
    raise OptionError(
        f"{where} is neither a part nor a preset: derive a class from gdro.Selector, Allocator,"
        " Weigher, Estimator or Baseline, or write a function that returns gdro.Parts"
        " (docs/extending.md)"
    )


def _own(where: str) -> Any:
    """The user's class or function, looked at for what would go wrong late."""
    try:
        found = load_own(where, "controller part")
    except OwnCodeError as error:
        raise OptionError(str(error)) from error
    if isinstance(found, type) and issubclass(found, Part):
        if not isinstance(vars(found).get("name"), str) or found.name in {
            n for kind in PARTS.values() for n in kind
        }:
            raise OptionError(
                f"{where}: a saved state goes by a name of its own; give it name: ClassVar[str]"
                " = ..."
            )
        options = {entry.name for entry in fields(found)}
        for option, hint in vars(found).get("__annotations__", {}).items():
            if option not in options and "ClassVar" not in str(hint):
                raise OptionError(
                    f"{where}: {option} is no option yet; write @dataclass(kw_only=True, eq=False)"
                    " above the class"
                )
    return found


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
