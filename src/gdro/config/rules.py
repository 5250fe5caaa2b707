"""What must hold between settings, each rule once. A controller's own rules are found by making
it."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gdro.config.base import faults
from gdro.config.explain import Problem
from gdro.config.objectives import GROUP_LOSSES, broken_by_objective
from gdro.controllers.controller import Controller
from gdro.controllers.registry import SLOTS, controller_options, make_controller
from gdro.core.errors import OptionError
from gdro.engines.compat import DEFAULT_CONTROLLER, EngineTraits, refusals
from gdro.engines.interface import leaves_choice

if TYPE_CHECKING:
    from gdro.config.schema import GenerationConfig, TrainConfig

OF_RUN = {
    "mean_rollouts": "num_generations",
    "min_rollouts": "min_rollouts",
    "max_rollouts": "max_rollouts",
    "correct_threshold": "correct_threshold",
    "seed": "seed",
}
"""What every controller must know of its run, and the setting that says it."""

Broken = tuple[tuple[str, ...], str]
"""The keys that a rule goes by, the one to blame first, and what is wrong."""


def problems_between(config: TrainConfig, wrong: Collection[str]) -> list[Problem]:
    """What does not go together, but for rules about a setting that is wrong by itself.

    Args:
        config: settings that are right one by one.
        wrong: those of them that were not, and hold their defaults now.
    """

    def is_wrong(key: str) -> bool:
        return any(f"{key}.".startswith(f"{path}.") for path in wrong)

    return [
        Problem(keys[0], message)
        for keys, message in _broken(config)
        if not any(map(is_wrong, keys))
    ]


def without(values: Mapping[str, Any], wrong: Sequence[Problem]) -> dict[str, Any]:
    """`values` without those that are wrong, so that the rest can be looked at; nor sections of
    missing ones."""
    kept = copy.deepcopy(dict(values))
    for problem in wrong:
        name, _, inner = problem.path.partition(".")
        section = kept.get(name)
        if isinstance(section, dict) and inner in section:
            del section[inner]
        if not inner or not section or problem.missing:
            kept.pop(name, None)
    return kept


def controller_of(config: TrainConfig) -> Controller:
    """The run's controller: what the controller section says, and what the run knows.

    Raises:
        OptionError: from settings that were not checked.
    """
    return _made(config, config.controller.model_dump())


def controller_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """The controller section with every option of the preset that it names written out, as YAML
    values."""
    name = given.get("name")
    if name is None and SLOTS.keys() & given.keys():  # a composition
        return dict(given)
    name = name or DEFAULT_CONTROLLER
    try:
        known = controller_options(name)
    except OptionError:  # told by the rules, with its place
        known = {}
    defaults = {key: option.default for key, option in known.items() if key not in OF_RUN}
    values = {
        key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()
    }
    return {**values, **given, "name": name}


def _made(config: TrainConfig, section: Mapping[str, Any]) -> Controller:
    run = {
        "horizon": config.max_steps,
        "advantage": config.advantage,
        "ddof": config.advantage_ddof,
    }
    facts = {key: getattr(config, setting) for key, setting in OF_RUN.items()}
    return make_controller(section, run=run, **facts)


def _broken(config: TrainConfig) -> Iterator[Broken]:
    kind, function, sampling = config.verifier.kind, config.verifier.function, config.generation
    if kind == "python" and function is None:
        yield ("verifier.function", "verifier.kind"), "kind python needs one: path/to/file.py:name"
    if kind != "python" and function is not None:
        what = f"only for verifier.kind python, which is {kind} here"
        yield ("verifier.function", "verifier.kind", "data.kind"), what
    if kind == "reasoning_gym" and config.data.kind != "reasoning_gym":
        what = (
            f"scores its own tasks only, and data.kind is {config.data.kind}; use math, exact or"
            " python"
        )
        yield ("verifier.kind", "data.kind"), what
    if config.hub_model_id is not None and not config.push_to_hub:
        yield (
            ("hub_model_id", "push_to_hub"),
            "names where the model is sent, and push_to_hub is false",
        )
    if config.evaluation.temperature == 0 and config.evaluation.num_generations > 1:
        what = "must be 1 with evaluation.temperature 0, which gives the same completion each time"
        yield ("evaluation.num_generations", "evaluation.temperature"), what
    if sampling.rounds is None and sampling.rounds_within_budget:
        what = "needs generation.rounds; one round never exceeds it"
        yield ("generation.rounds_within_budget", "generation.rounds"), what
    yield from _broken_by_backend(sampling)
    if config.num_iterations > 1 and sampling.rounds_within_budget:
        yield (
            ("num_iterations", "generation.rounds_within_budget"),
            "must be 1 with generation.rounds_within_budget",
        )
    if sampling.rounds == "reinforce_ada" and config.advantage != "grpo":
        what = (
            "must be grpo with generation.rounds reinforce_ada, which has a mean and a spread of"
            " all its rounds"
        )
        yield ("advantage", "generation.rounds"), what
    yield from broken_by_objective(config)
    low, mean, high = config.min_rollouts, config.num_generations, config.max_rollouts
    if (low or 1) <= mean <= (high or mean):
        yield from _broken_by_controller(config)
    else:
        below = (
            f"min_rollouts ({low}) or more"
            if mean < (low or 1)
            else f"max_rollouts ({high}) or less"
        )
        yield (
            ("num_generations", "min_rollouts", "max_rollouts"),
            f"must be {below}; change one of the two",
        )


OF_VLLM = {
    "vllm_mode": "",
    "vllm_gpu_memory_utilization": "colocate",
    "vllm_tensor_parallel_size": "colocate",
    "vllm_server_base_url": "server",
}
"""Settings of backend vllm, and the mode in which each has an effect; any where none is named."""


def _broken_by_backend(sampling: GenerationConfig) -> Iterator[Broken]:
    """Settings of a backend that is not in use."""
    for name, mode in OF_VLLM.items():
        if getattr(sampling, name) == type(sampling).model_fields[name].default:
            continue
        key = f"generation.{name}"
        if sampling.backend != "vllm":
            what = f"only for generation.backend vllm, which is {sampling.backend} here"
            yield (key, "generation.backend"), what
        elif mode not in ("", sampling.vllm_mode):
            what = f"only for generation.vllm_mode {mode}"
            if mode == "colocate":
                what += "; a server is told so by its own command"
            yield (key, "generation.vllm_mode"), what
    if re.fullmatch(r"https?://[^\s/]+(/\S*[^\s/])?", sampling.server_url) is None:
        what = "must be an address such as http://gpu2:8000, without a slash at the end"
        yield ("generation.vllm_server_base_url",), what


def _broken_by_controller(config: TrainConfig) -> Iterator[Broken]:
    """What a controller refuses, and what the engine would refuse of it, before anything is
    made."""
    try:
        controller = controller_of(config)
    except OptionError as error:
        for key, what in _faults(config) or [("controller", str(error))]:
            yield (
                (key, "controller", "max_steps", "advantage", "advantage_ddof", *OF_RUN.values()),
                what,
            )
        return
    for key in config.controller.options.keys() & OF_RUN.keys():
        yield (
            (f"controller.{key}", "controller"),
            f"belongs to the run; set {OF_RUN[key]} at the top level",
        )
    if controller.needs_losses and config.objective.name in GROUP_LOSSES:
        what = (
            f"needs surrogate losses, which objective {config.objective.name} does not have; name"
            " another of the two"
        )
        yield ("controller", "objective"), what
    for subject, what in refusals(controller, _engine(config), config.candidates):
        yield ("candidates" if subject == "candidates" else "advantage", "controller"), what
    if config.generation.rounds is not None and not leaves_choice(controller):
        what = "takes the place of a controller's choice; set controller: uniform"
        yield ("generation.rounds", "controller"), what


def _engine(config: TrainConfig) -> EngineTraits:
    """The engine as this run sets it up."""
    return EngineTraits(
        name="gdro train",
        mean_rollouts=config.num_generations,
        mean_setting="num_generations",
        advantage=config.advantage,
        ddof=config.advantage_ddof,
        advantage_hint="advantage: grpo",
    )


def _faults(config: TrainConfig) -> list[tuple[str, str]]:
    """Every key of the controller section that is wrong by itself."""
    name = {"name": config.controller.name}

    def made(one: dict[str, Any]) -> Controller:
        return _made(config, name | one)

    return faults("controller", made, name) or faults("controller", made, config.controller.options)
