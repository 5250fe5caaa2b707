"""Controllers by name. A name is a class with a vetted set of options; options given by the user come on top."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from gdro.controllers.base import Controller
from gdro.controllers.joint import Joint
from gdro.controllers.live_gdro import LiveGDRO
from gdro.controllers.peers.adarft import AdaRFT
from gdro.controllers.peers.daro import DARO
from gdro.controllers.peers.dump import DUMP
from gdro.controllers.peers.greso import GRESO
from gdro.controllers.peers.knapsack import Knapsack
from gdro.controllers.peers.maxrl import MaxRL
from gdro.controllers.peers.mopps import MoPPS
from gdro.controllers.peers.neyman import Neyman
from gdro.controllers.peers.random_ragged import RandomRagged
from gdro.controllers.peers.sec import SEC
from gdro.controllers.peers.vip import VIP
from gdro.controllers.posterior_gdro import PosteriorGDRO
from gdro.controllers.prompt_gdro import PromptGDRO
from gdro.controllers.rollout_gdro import RolloutGDRO
from gdro.controllers.sqrt_law import SqrtLaw
from gdro.controllers.uniform import Uniform
from gdro.core.errors import OptionError
from gdro.own_code import OwnCodeError, is_own, load_own


@dataclass(frozen=True, slots=True)
class Entry:
    """A controller class, the options that this name sets, and one line of meaning."""

    factory: type[Controller]
    meaning: str
    options: Mapping[str, Any] = field(default_factory=dict)


_PAPER = {"statistic": "any_of_n", "window": 50, "hysteresis": 0.03, "max_rollouts": 12}
_PAPER_PROMPT = _PAPER | {
    "signal": "surrogate",
    "eta": 0.65,
    "gamma": 0.01,
    "beta": 0.12,
    "weights": "omega",
    "omega_max": 15.0,
    "share_floor": 0.01,
}
_PAPER_ROLLOUT = _PAPER | {
    "utility": "surrogate",
    "arm_eta": 0.65,
    "arm_gamma": 0.01,
    "arm_ema": 0.4,
    "price_step": 0.05,
}

REGISTRY: dict[str, Entry] = {
    "uniform": Entry(Uniform, "plain GRPO: equal rollouts, weight 1"),
    "prompt_gdro": Entry(PromptGDRO, "a data adversary weighs prompts by difficulty bin"),
    "posterior_gdro": Entry(PosteriorGDRO, "weighs by a posterior of source, history and this visit"),
    "live_gdro": Entry(LiveGDRO, "the same, and selects prompts likely to have a gradient"),
    "rollout_gdro": Entry(RolloutGDRO, "a compute adversary allots rollouts by difficulty bin"),
    "joint": Entry(Joint, "both games on one classifier"),
    "sqrt_law": Entry(SqrtLaw, "rollouts by the square-root law, in closed form"),
    "paper": Entry(
        Joint,
        "both games with the values of arXiv 2601.19280",
        _PAPER_PROMPT | _PAPER_ROLLOUT | {"coupled": False},
    ),
    "paper_prompt": Entry(PromptGDRO, "Prompt-GDRO with the values of arXiv 2601.19280", _PAPER_PROMPT),
    "paper_rollout": Entry(RolloutGDRO, "Rollout-GDRO with the values of arXiv 2601.19280", _PAPER_ROLLOUT),
    "neyman": Entry(Neyman, "rollouts by the square root of each prompt's own variance"),
    "knapsack": Entry(Knapsack, "rollouts by Knapsack RL, arXiv 2509.25849"),
    "vip": Entry(VIP, "rollouts by VIP's gradient variance, arXiv 2602.01601"),
    "greso": Entry(GRESO, "selects: skips prompts that gave no gradient, arXiv 2506.02177"),
    "mopps": Entry(MoPPS, "selects: success rates near one half by Thompson sampling, arXiv 2507.04632"),
    "sec": Entry(SEC, "selects: a bandit over categories, arXiv 2505.14970"),
    "dump": Entry(DUMP, "selects: upper confidence bounds over categories, arXiv 2504.09710"),
    "adarft": Entry(AdaRFT, "selects: a moving target difficulty, arXiv 2504.05520"),
    "daro": Entry(DARO, "weights that equalise groups of like success rate, arXiv 2510.09001"),
    "maxrl": Entry(MaxRL, "weights that make the advantage (r - mean) / mean, arXiv 2602.02710"),
    "random_ragged": Entry(RandomRagged, "control: random ragged rollouts with the exact total"),
}

POOL_FACTORS = f"{LiveGDRO.pool_factor} for live_gdro, {Controller.pool_factor} for the others of that kind"
"""Candidates a prompt that a controller which selects is offered by default, as help texts say it."""


def controller_names() -> list[str]:
    """All names that `make_controller` takes."""
    return list(REGISTRY)


def known(name: str) -> bool:
    """Whether `make_controller` would look for a controller of that name: one of these, or `path/to/file.py:Class`."""
    return name in REGISTRY or is_own(name)


def controller_class(name: str) -> type[Controller]:
    """The class behind a name.

    Raises:
        OptionError: no such controller; names the nearest.
    """
    return _entry(name).factory


def controller_options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a controller with their types and, as this name sets them, defaults.

    Raises:
        OptionError: no such controller; names the nearest.
    """
    entry = _entry(name)
    parameters = inspect.signature(entry.factory).parameters
    return {
        key: parameter.replace(default=entry.options.get(key, parameter.default))
        for key, parameter in parameters.items()
    }


def make_controller(name: str, **options: Any) -> Controller:
    """A controller by name, e.g. `make_controller("joint", bins=10, mean_rollouts=4)`.

    Args:
        name: one of `controller_names()`, or `path/to/file.py:Class` for one of your own (docs/own_controller.md).

    Raises:
        OptionError: an unknown name or option (with the nearest known one), or a value out of range.
    """
    entry = _entry(name)
    known = controller_options(name)
    for option in options:
        if option not in known:
            raise OptionError(f"controller {name!r} has no option {option!r}{_nearest(option, list(known))}")
    return entry.factory(**(dict(entry.options) | options))


def _entry(name: str) -> Entry:
    if not isinstance(name, str):
        raise OptionError(f"controller={name!r} is no name; known: {', '.join(REGISTRY)}")
    if is_own(name):
        return Entry(_own_class(name), "one of your own")
    if name not in REGISTRY:
        raise OptionError(f"no controller is called {name!r}{_nearest(name, list(REGISTRY))}")
    return REGISTRY[name]


def _own_class(where: str) -> type[Controller]:
    """The user's class, looked at for what would go wrong late."""
    try:
        found = load_own(where, "controller class")
    except OwnCodeError as error:
        raise OptionError(str(error)) from error
    if not (isinstance(found, type) and issubclass(found, Controller)):
        raise OptionError(f"{where} is no controller class; derive it from gdro.Controller (docs/own_controller.md)")
    if found.name in {entry.factory.name for entry in REGISTRY.values()}:
        raise OptionError(
            f"{where} is called {found.name!r}, as one of gdro's is, and a saved state goes by that; give the class a "
            "name of its own: name: ClassVar[str] = ..."
        )
    options = {field.name for field in fields(found)}
    for option, hint in vars(found).get("__annotations__", {}).items():
        if option not in options and "ClassVar" not in str(hint):
            raise OptionError(
                f"{where}: {option} is no option yet; write @dataclass(kw_only=True, eq=False) above the class"
            )
    return found


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
