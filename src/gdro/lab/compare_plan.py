"""The plan of a comparison: one strict YAML file of methods, seeds and what all of them share.

    name: first                        # also names the default folder, runs/compare-first
    recipe: default                    # a recipe's name, or a YAML file beside the plan
    baseline: uniform                  # the method that the others are compared with; default: the first
    seeds: [0, 1, 2, 3, 4]
    overrides: {steps: 600, evaluation.every: 50}
    methods:
      uniform: {controller: uniform}
      joint: {controller: {name: joint, eta: 7.0}}

A method changes what it is: its controller, its optimisation, how it spreads the run's rollouts (`steps` x
`prompts_per_step` x `mean_rollouts`, the product the same for all; with other steps, `evaluation.every` moves along).
What makes the comparison fair (model, data, rollouts of the run, evaluation, verifier) is shared by all and can stand
in `overrides` only. Methods that generate in rounds spend more, unless `generation.rounds_within_budget` is set. A
controller given by its name has that controller's own defaults for what is not said, whatever options the recipe's has:
a method means the same in every comparison.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from gdro.runs.config import TrainConfig, load_config, recipe_names
from gdro.runs.config_base import ConfigError, Section, Seed, SettingError, Text, one_as_tuple
from gdro.runs.config_explain import explained
from gdro.runs.config_keys import nearest
from gdro.runs.config_yaml import dump_yaml, parse_yaml, read_settings

SHARED = (
    "model",
    "dtype",
    "data",
    "correct_threshold",
    "evaluation",
    "verifier",
)
"""Settings that must be the same for every method, but for the one below."""
MOMENTS = "evaluation.every"
"""When a run is evaluated: at the same shares of its rollouts for every method."""
OURS = ("name", "output", "seed")
"""Settings that the comparison itself gives to each run."""
PLAN = "compare.yaml"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class Plan(Section):
    """A comparison's plan, see the module's text."""

    name: Name = Field(description="Name of the comparison (letters, digits, _ -).")
    about: Text | None = Field(default=None, description="What it asks, in a sentence for its report.")
    recipe: Text = Field(default="default", description="A recipe's name, or a YAML file beside the plan.")
    baseline: Text | None = Field(default=None, description="The method that the others are compared with.")
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(one_as_tuple)] = Field(description="Seeds, each once.")
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="Settings laid over the recipe for every method."
    )
    methods: dict[Name, dict[str, Any] | None] = Field(description="A method's name and its settings.")

    @property
    def against(self) -> str:
        """The baseline's name."""
        return self.baseline or next(iter(self.methods))

    @model_validator(mode="after")
    def _parts_agree(self) -> Plan:
        if not self.methods:
            raise SettingError("methods", "name at least one method")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise SettingError("seeds", "give at least one seed, each once")
        if self.baseline is not None and self.baseline not in self.methods:
            near = nearest(self.baseline, list(self.methods))
            hint = f"; did you mean {near}?" if near else f"; they are {', '.join(self.methods)}"
            raise SettingError("baseline", f"is no method of this plan{hint}")
        for key in self.overrides:
            if key.partition(".")[0] in OURS:
                raise SettingError("overrides", f"{key} is given to each run by the comparison; leave it out")
        return self


@dataclass(frozen=True)
class Job:
    """One run of a comparison.

    Attributes:
        config: its settings, complete; output is null, since the run lies in the comparison's folder.
    """

    method: str
    seed: int
    config: TrainConfig

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"{self.method} seed {self.seed}"

    @property
    def shape(self) -> str:
        """Steps x prompts x mean rollouts, for messages."""
        return f"{self.config.steps} x {self.config.prompts_per_step} x {self.config.mean_rollouts}"

    @property
    def rollouts(self) -> int:
        """Rollouts of the run, of one round each step."""
        return self.config.steps * self.config.step_rollouts

    @property
    def moments(self) -> float:
        """Evaluations of the run after its start, as a number that need not be whole."""
        return self.config.steps / (self.config.evaluation.every or self.config.steps)


def plan_names() -> list[str]:
    """The plans inside the package, e.g. `first`."""
    folder = resources.files("gdro") / "lab" / "plans"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def locate_plan(name: str) -> Path:
    """The file of a plan: a name inside the package, a YAML file, or a comparison's folder.

    Raises:
        ConfigError: there is none.
    """
    if name in plan_names():
        return Path(str(resources.files("gdro") / "lab" / "plans" / f"{name}.yaml"))
    path = Path(name)
    path = path / PLAN if path.is_dir() else path
    if path.parent.is_dir() and path.name == PLAN and not path.is_file():
        hint = f"; that is a training run: gdro report {name}" if (path.parent / "metrics.jsonl").is_file() else ""
        raise ConfigError(f"{path}: no plan there, so {name} is no comparison{hint}")
    if not path.is_file():
        near = nearest(name, plan_names())
        hint = f"; did you mean {near}?" if near else f"; the plans are {', '.join(plan_names())}"
        raise ConfigError(f"{path}: no plan there{hint}")
    return path


def read_plan(path: Path) -> Plan:
    """The checked plan of a YAML file.

    Raises:
        ConfigError: a line per problem, each naming key, value, line and remedy.
    """
    settings = read_settings(path)
    try:
        return Plan.model_validate(settings.values)
    except ValidationError as error:
        raise explained(error, Plan, settings) from None


def narrowed(plan: Plan, methods: Sequence[str], seeds: Sequence[int], sets: Sequence[str]) -> Plan:
    """The plan with only these methods and seeds (none given: all of them) and `key=value` laid over all methods.

    Raises:
        ConfigError: an unknown method, or a text that is not `key=value`.
    """
    for method in methods:
        if method not in plan.methods:
            near = nearest(method, list(plan.methods))
            hint = f"did you mean {near}?" if near else f"it has {', '.join(plan.methods)}"
            raise ConfigError(f"--methods {method}: not in the plan {plan.name}; {hint}")
    kept = {name: plan.methods[name] for name in plan.methods if not methods or name in methods}
    values = plan.model_dump() | {
        "methods": kept,
        "seeds": list(seeds) or list(plan.seeds),
        "baseline": plan.against if plan.against in kept else None,
        "overrides": plan.overrides | dict(map(_parsed, sets)),
    }
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"--{first['loc'][0]} {first['input']}: {first['msg']}") from None


def plan_text(plan: Plan) -> str:
    """The plan as YAML; reading it gives an equal plan."""
    return dump_yaml(plan.model_dump(mode="json"))


def jobs_of(plan: Plan, folder: Path) -> list[Job]:
    """Every run, checked; seed by seed, so that an unfinished comparison is still a paired one.

    Args:
        folder: where the plan's file lies, for a recipe that is a file.

    Raises:
        ConfigError: the first method whose settings cannot be used, with all that is wrong with them, or that would
            spend other rollouts than the rest.
    """
    recipe = plan.recipe if plan.recipe in recipe_names() else str(folder / plan.recipe)
    jobs = [Job(method, seed, _settings(plan, recipe, method, seed)) for seed in plan.seeds for method in plan.methods]
    first = jobs[0]
    for job in jobs:
        if job.rollouts != first.rollouts:
            raise ConfigError(
                f"method {job.method}: {job.shape} rollouts where {first.method} has {first.shape}; a method may "
                "choose steps, prompts_per_step and mean_rollouts, but their product is the same for all"
            )
        if job.moments != first.moments:
            raise ConfigError(
                f"method {job.method}: {MOMENTS} {job.config.evaluation.every} of {job.config.steps} steps where "
                f"{first.method} has {first.config.evaluation.every} of {first.config.steps}; every method is "
                "evaluated at the same shares of its run"
            )
    return jobs


def _settings(plan: Plan, recipe: str, method: str, seed: int) -> TrainConfig:
    own = plan.methods[method] or {}
    for key in (text.partition("=")[0] for text in _flat(own)):
        section = key.partition(".")[0]
        if (section in SHARED and key != MOMENTS) or section in OURS:
            where = "put it under `overrides`" if section in SHARED else "the comparison gives it to each run"
            raise ConfigError(f"method {method}: {key} must be the same for all methods; {where}")
    sets = ["verifier.workers=1", *_flat(plan.overrides), *_flat(own), f"seed={seed}", f"name={json.dumps(method)}"]
    try:
        return load_config(recipe, sets)
    except ConfigError as error:
        raise ConfigError(f"method {method}:\n{error}") from None


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Nested settings as `a.b=value` texts (JSON is YAML); a controller by its name starts from its own defaults."""
    for key, value in values.items():
        if (above, key) == ("", "controller") and isinstance(value, Mapping) and "name" in value:
            yield f"controller={json.dumps(value['name'])}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}={json.dumps(value, ensure_ascii=False)}"


def _parsed(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {text}: write key=value, e.g. --set steps=100")
    return key, parse_yaml(value, f"--set {text}")
