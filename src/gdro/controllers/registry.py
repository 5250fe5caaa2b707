"""The presets and parts that there are, by name; `path/to/file.py:name` is one of the user's
own."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from dataclasses import fields
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


def controller_meaning(name: str) -> str:
    """One sentence on a preset, or on one of the user's own."""
    text = inspect.getdoc(preset_named(name)) or "one of your own"
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
    own = inspect.signature(preset_named(name), eval_str=True).parameters
    return {fact: shared[fact] for fact in FACTS} | dict(own)


def preset_named(name: str) -> Preset:
    """The preset of a name; raises OptionError where there is none, with the nearest."""
    if not isinstance(name, str):
        raise OptionError(f"controller={name!r} is no name; known: {', '.join(PRESETS)}")
    if is_own(name):
        return _own_preset(name)
    if name not in PRESETS:
        raise OptionError(f"no controller is called {name!r}{did_you_mean(name, list(PRESETS))}")
    return PRESETS[name]


def _own_preset(where: str) -> Preset:
    """A preset of the user's own, or one that is uniform but for a part of the user's own."""
    found = own_code(where)
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


def own_code(where: str) -> Any:
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


def did_you_mean(word: str, known: list[str]) -> str:
    """The end of a message about a word that is none of the known ones: which was meant."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
