"""`TrainConfig`: the settings of a run and what must hold between them.

What a controller, an objective or an engine refuses is asked of them, and told with the settings'
keys; the rules that stand here are those of `gdro train` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from gdro.config.data import DataConfig, ReasoningGymData
from gdro.config.explain import Broken
from gdro.config.schema import OF_RUN, GenerationConfig, TrainFields
from gdro.controllers.checks import rollout_bounds
from gdro.controllers.controller import Controller
from gdro.controllers.making import make_controller
from gdro.core.errors import OptionError
from gdro.engines.compat import EngineTraits, disagreements, refusals

OF_ENGINE = {
    "advantage": ("advantage", "controller", "generation.rounds"),
    "beta": ("beta", "objective"),
    "candidates": ("candidates", "controller"),
    "losses": ("controller", "objective"),
    "num_iterations": ("num_iterations", "generation.rounds_within_budget"),
    "rounds": ("generation.rounds", "controller"),
    "rounds_within_budget": ("generation.rounds_within_budget", "generation.rounds"),
}
"""What an engine refuses, as `gdro.engines.compat` names it, and the keys that it goes by."""

OF_VLLM = {
    "vllm_mode": "",
    "vllm_gpu_memory_utilization": "colocate",
    "vllm_tensor_parallel_size": "colocate",
    "vllm_server_base_url": "server",
}
"""Settings of backend vllm, and the mode in which each has an effect; any where none is named."""


class TrainConfig(TrainFields):
    """All settings of `gdro train`. Wrong ones raise ConfigError, however they come in.

    In Python, sections are mappings: `TrainConfig(max_steps=4, data={"kind": "jsonl", "path":
    "a.jsonl"})`.
    """

    def broken(self) -> Iterator[Broken]:
        """What does not go together."""
        yield from _broken_by_verifier(self)
        yield from _broken_by_source(self.data)
        yield from _broken_by_backend(self.generation)
        if self.hub_model_id is not None and not self.push_to_hub:
            what = "names where the model is sent, and push_to_hub is false"
            yield ("hub_model_id", "push_to_hub"), what
        if self.evaluation.temperature == 0 and self.evaluation.num_generations > 1:
            what = "must be 1 with evaluation.temperature 0, which gives the same completion each"
            yield ("evaluation.num_generations", "evaluation.temperature"), f"{what} time"
        for subject, what in disagreements(_engine(self)):
            yield OF_ENGINE[subject], what
        yield from _broken_by_objective(self)
        *_, wrong = rollout_bounds(self.num_generations, self.min_rollouts, self.max_rollouts)
        if wrong is None:
            yield from _broken_by_controller(self)
        else:
            yield ("num_generations", "min_rollouts", "max_rollouts"), wrong


def controller_of(config: TrainFields) -> Controller:
    """The run's controller: what the controller section says, and what the run knows.

    Raises:
        OptionError: from settings that were not checked.
    """
    return _made(config, config.controller.model_dump())


def _made(config: TrainFields, section: Mapping[str, Any]) -> Controller:
    run = {
        "horizon": config.generations,
        "advantage": config.advantage,
        "ddof": config.advantage_ddof,
    }
    facts = {key: getattr(config, setting) for key, setting in OF_RUN.items()}
    return make_controller(section, run=run, **facts)


def _broken_by_verifier(config: TrainFields) -> Iterator[Broken]:
    kind, function, data = config.verifier.kind, config.verifier.function, config.data.kind
    if kind == "python" and function is None:
        yield ("verifier.function", "verifier.kind"), "kind python needs one: path/to/file.py:name"
    if kind != "python" and function is not None:
        what = f"only for verifier.kind python, which is {kind} here"
        yield ("verifier.function", "verifier.kind", "data.kind"), what
    if kind == "reasoning_gym" and data != kind:
        what = f"scores its own tasks only, and data.kind is {data}; use math, exact or python"
        yield ("verifier.kind", "data.kind"), what


def _broken_by_source(data: DataConfig) -> Iterator[Broken]:
    if isinstance(data, ReasoningGymData) or data.source is None:
        return
    # the kind's own column stands in every stored run
    if data.source_column not in (None, type(data).model_fields["source_column"].default):
        what = "data.source names the source of every row; leave one of the two out"
        yield ("data.source_column", "data.source"), what


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
            told = "; a server is told so by its own command" if mode == "colocate" else ""
            yield (key, "generation.vllm_mode"), f"only for generation.vllm_mode {mode}{told}"
    if sampling.rows is not None and sampling.backend == "transformers":
        what = "only for generation.backend fast, which is transformers here"
        yield ("generation.rows", "generation.backend"), what
    if re.fullmatch(r"https?://[^\s/]+(/\S*[^\s/])?", sampling.server_url) is None:
        what = "must be an address such as http://gpu2:8000, without a slash at the end"
        yield ("generation.vllm_server_base_url",), what


def _broken_by_objective(config: TrainFields) -> Iterator[Broken]:
    """What an objective refuses, and what `gdro train` has no place for. One other than plain grpo
    imports torch."""
    name, options = config.objective.name, config.objective.options
    if name == "grpo" and not options:
        return
    from gdro.objectives.registry import make_objective

    if refused := _refused("objective", partial(make_objective, name), options):
        yield from (((key, "objective"), what) for key, what in refused)
        return
    if options.get("fine") is not None:
        what = (
            "takes several reward functions, as GDROTrainer has them; here the reward stands for f"
        )
        yield ("objective.fine", "objective"), what
    column, data = options.get("anchors"), config.data
    more = () if isinstance(data, ReasoningGymData) else data.metadata_columns
    known = ("answer", *more)
    if column is not None and column not in known:
        what = f"is none of {', '.join(known)}; list its column in data.metadata_columns"
        yield ("objective.anchors", "data.metadata_columns"), what


def _broken_by_controller(config: TrainFields) -> Iterator[Broken]:
    """What a controller refuses, and what the engine would refuse of it, before anything is
    made."""
    section = config.controller

    def made(options: Mapping[str, Any]) -> object:
        return _made(config, {"name": section.name, **options})

    if refused := _refused("controller", made, section.options):
        run = ("max_steps", "advantage", "advantage_ddof", *OF_RUN.values())
        yield from (((key, "controller", *run), what) for key, what in refused)
        return
    for key in section.options.keys() & OF_RUN.keys():
        what = f"belongs to the run; set {OF_RUN[key]} at the top level"
        yield (f"controller.{key}", "controller"), what
    for subject, what in refusals(controller_of(config), _engine(config), config.candidates):
        yield OF_ENGINE[subject], what


def _refused(
    section: str, make: Callable[[Mapping[str, Any]], object], options: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """What a section's maker refuses: its name, else every option with which alone nothing can be
    made, else the section, whose options do not go together. Key, and why."""

    def why_not(given: Mapping[str, Any]) -> str | None:
        try:
            make(given)
        except OptionError as error:
            return str(error)
        return None

    together = why_not(options)
    if together is None:
        return []
    if unnamed := why_not({}):
        return [(f"{section}.name", unnamed)]
    alone = [(f"{section}.{key}", why_not({key: value})) for key, value in options.items()]
    return [(key, what) for key, what in alone if what] or [(section, together)]


def _engine(config: TrainFields) -> EngineTraits:
    """The engine as this run sets it up."""
    return EngineTraits(
        name="gdro train",
        mean_rollouts=config.num_generations,
        mean_setting="num_generations",
        advantage=config.advantage,
        ddof=config.advantage_ddof,
        advantage_hint="advantage: grpo",
        objective=config.objective.name,
        beta=config.beta,
        num_iterations=config.num_iterations,
        rounds=config.generation.rounds,
        rounds_within_budget=config.generation.rounds_within_budget,
    )
