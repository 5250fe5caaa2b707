"""The plan of a comparison: one strict YAML file of methods, seeds and what all of them share.

    name: first                   # also names the default folder, runs/compare-first
    recipe: default               # a recipe's name, or a YAML file beside the plan
    baseline: uniform             # the method that the others are compared with; default: the first
    seeds: [0, 1, 2, 3, 4]
    overrides: {max_steps: 600, eval_steps: 50}
    methods:
      uniform: {controller: uniform}
      joint: {controller: {name: joint, eta: 7.0}}

A method changes what it is: its controller, its update, how it spreads the run's rollouts
(`max_steps` x `prompts_per_step` x `num_generations`, the product the same for all; with other
steps, `eval_steps` moves along). What makes the comparison fair (model, data, rollouts of the run,
evaluation, verifier) is shared by all and can stand in `overrides` only. Methods that generate in
rounds spend more, unless `generation.rounds_within_budget` is set. A controller given by its name
has that controller's own defaults for what is not said, whatever options the recipe's has: a method
means the same in every comparison.

Optional keys: `by_seed`, settings of one seed, the same for all methods, e.g. `{seed: 300,
data.seed: 300}`: then seeds are replicates with data and held-out prompts of their own, and
intervals are over replicates. `claims`, written before the runs: which differences will be tested
and what each result will be said to mean (`gdro.lab.compare_claims`). `ran`: when and on what
machine, for the table; where it is left out `--publish` reads it from the runs' records.
`recipe: null`: the plan says everything itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from gdro.config import TrainConfig
from gdro.config.base import ConfigError, Section, Seed, Text, one_as_tuple
from gdro.config.explain import Broken, Checked
from gdro.config.keys import nearest
from gdro.config.loading import read_recipe, read_settings
from gdro.config.source import Source, parse_override
from gdro.config.yaml_text import dump_yaml

SHARED = (
    "model",
    "dtype",
    "data",
    "correct_threshold",
    "evaluation",
    "verifier",
)
"""Sections and settings that must be the same for every method, but for the one below."""
LABELS = "data.source_labels"
"""Whether a method's controller is told the names of the sources; the prompts and their order are
the same."""
MOMENTS = "eval_steps"
"""When a run is evaluated: at the same shares of its rollouts for every method."""
OURS = ("run_name", "output_dir", "seed")
"""Settings that the comparison itself gives to each run."""
PLAN = "plan.yaml"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class Claim(Section):
    """One difference that the comparison is for, and the sentence that each result will be given.

    Clear means clear after Holm's adjustment for the number of claims (5 %). `{gap}` in a sentence
    is the difference with its 95 % interval, `{relative}` the relative one in per cent.
    """

    method: Name = Field(description="The method.")
    against: Name = Field(description="The method that it is compared with.")
    score: Text = Field(description="A score of results.json, e.g. pass_at_k.")
    least: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="Relative gain below which even a clear difference is no win."
    )
    win: Text = Field(description="Clearly above 0 and at least `least`.")
    open: Text = Field(description="None of the others: not decided by these runs.")
    loss: Text = Field(description="Clearly below 0.")
    excluded: Text | None = Field(
        default=None, description="The whole 95 % interval is below `least`; needs `least` above 0."
    )

    @model_validator(mode="after")
    def _excludes_something(self) -> Claim:
        if (self.excluded is not None) != (self.least > 0):
            raise ValueError(
                f"{self.method}: give `excluded` and a `least` above 0 together, or neither"
            )
        return self


class ComparisonPlan(Checked):
    """A comparison's plan, see the module's text."""

    name: Name = Field(description="Name of the comparison (letters, digits, _ -).")
    about: Text | None = Field(
        default=None, description="What it asks, in a sentence for its report."
    )
    ran: Text | None = Field(default=None, description="When and on what machine it was run.")
    recipe: Text | None = Field(
        default="default",
        description="A recipe's name, a YAML file beside the plan, or null: none.",
    )
    baseline: Text | None = Field(
        default=None, description="The method that the others are compared with."
    )
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(one_as_tuple)] = Field(
        description="Seeds, each once."
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="Settings laid over the recipe for every method."
    )
    by_seed: Annotated[tuple[dict[str, Any], ...], BeforeValidator(one_as_tuple)] = Field(
        default=(),
        description=(
            "Settings of one seed, for every method: {seed: S, key: value}; all seeds, or none."
        ),
    )
    methods: dict[Name, dict[str, Any] | None] = Field(
        description="A method's name and its settings."
    )
    claims: Annotated[tuple[Claim, ...], BeforeValidator(one_as_tuple)] = Field(
        default=(), description="What will be tested and said, written before the runs."
    )

    @property
    def against(self) -> str:
        """The baseline's name."""
        return self.baseline or next(iter(self.methods))

    def broken(self) -> Iterator[Broken]:
        """What does not go together."""
        methods = ", ".join(self.methods)
        if not self.methods:
            yield ("methods",), "name at least one method"
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            yield ("seeds",), "give at least one seed, each once"
        if self.baseline is not None and self.baseline not in self.methods:
            near = nearest(self.baseline, list(self.methods))
            hint = f"did you mean {near}?" if near else f"they are {methods}"
            yield ("baseline", "methods"), f"is no method of this plan; {hint}"
        settings = [("overrides", self.overrides)]
        for where, given in settings + [("by_seed", self.of_seed(seed)) for seed in self.seeds]:
            for key in given:
                if key.partition(".")[0] in OURS:
                    what = f"{key} is given to each run by the comparison; leave it out"
                    yield (where, "seeds"), what
        said = sorted(entry.get("seed", -1) for entry in self.by_seed)
        if said and said != sorted(self.seeds):
            what = "name every seed of the plan once: {seed: S, key: value}"
            yield ("by_seed", "seeds"), what
        for claim in self.claims:
            for name in (claim.method, claim.against):
                if name not in self.methods:
                    what = f"{name} is no method of this plan; they are {methods}"
                    yield ("claims", "methods"), what

    def of_seed(self, seed: int) -> dict[str, Any]:
        """What `by_seed` says of a seed."""
        return {
            key: value
            for entry in self.by_seed
            if entry.get("seed") == seed
            for key, value in entry.items()
            if key != "seed"
        }


@dataclass(frozen=True)
class Job:
    """One run of a comparison.

    Attributes:
        config: its settings, complete; output is null, since the run lies in the comparison's
            folder.
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
        """Batches x prompts x mean rollouts, for messages."""
        config = self.config
        return f"{config.generations} x {config.prompts_per_step} x {config.num_generations}"

    @property
    def rollouts(self) -> int:
        """Rollouts of the run, of one round each batch."""
        return self.config.generations * self.config.step_rollouts

    @property
    def moments(self) -> float:
        """Evaluations of the run after its start, as a number that need not be whole."""
        return self.config.max_steps / (self.config.eval_steps or self.config.max_steps)


def plan_names() -> list[str]:
    """The plans inside the package, e.g. `first`."""
    folder = resources.files("gdro") / "lab" / "plans"
    return sorted(
        item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")
    )


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
        hint = (
            f"; that is a training run: gdro report {name}"
            if (path.parent / "metrics.jsonl").is_file()
            else ""
        )
        raise ConfigError(f"{path}: no plan there, so {name} is no comparison{hint}")
    if not path.is_file():
        near = nearest(name, plan_names())
        hint = f"; did you mean {near}?" if near else f"; the plans are {', '.join(plan_names())}"
        raise ConfigError(f"{path}: no plan there{hint}")
    return path


def read_plan(path: Path) -> ComparisonPlan:
    """The checked plan of a YAML file.

    Raises:
        ConfigError: a line per problem, each naming key, value, line and remedy.
    """
    source = read_settings(path)
    return ComparisonPlan.model_validate(source.values, context=source)


def narrowed(
    plan: ComparisonPlan, methods: Sequence[str], seeds: Sequence[int], sets: Sequence[str]
) -> ComparisonPlan:
    """The plan with only these methods and seeds (none given: all of them) and `key=value` laid
    over all methods.

    Raises:
        ConfigError: an unknown method, a seed that is none, or a text that is not `key=value`.
    """
    for method in methods:
        if method not in plan.methods:
            near = nearest(method, list(plan.methods))
            hint = f"did you mean {near}?" if near else f"it has {', '.join(plan.methods)}"
            raise ConfigError(f"--methods {method}: not in the plan {plan.name}; {hint}")
    kept = {name: plan.methods[name] for name in plan.methods if not methods or name in methods}
    chosen = list(seeds) or list(plan.seeds)
    if plan.by_seed and not set(chosen) <= set(plan.seeds):
        raise ConfigError(
            f"--seeds: the plan {plan.name} says what each seed is (by_seed); choose among"
            f" {plan.seeds}"
        )
    values = plan.model_dump() | {
        "methods": kept,
        "seeds": chosen,
        "by_seed": [entry for entry in plan.by_seed if entry["seed"] in chosen],
        "claims": [c.model_dump() for c in plan.claims if c.method in kept and c.against in kept],
        "baseline": plan.against if plan.against in kept else None,
        "overrides": plan.overrides | dict(map(_parsed, sets)),
    }
    given = Source(values, {("seeds",): "--seeds", ("overrides",): "--set"})
    return ComparisonPlan.model_validate(values, context=given)


def plan_text(plan: ComparisonPlan) -> str:
    """The plan as YAML, without what is not set; reading it gives an equal plan."""
    return dump_yaml(plan.model_dump(mode="json", exclude_defaults=True))


def self_contained(plan: ComparisonPlan, folder: Path) -> ComparisonPlan:
    """The plan with its recipe written out under `overrides`: it trains the same whatever becomes
    of the recipe.

    Raises:
        ConfigError: the recipe cannot be read.
    """
    if plan.recipe is None:
        return plan
    settings = read_recipe(plan.recipe, folder)
    settings.lay_texts(list(_flat(plan.overrides)))
    overrides = {key: value for key, value in settings.values.items() if key not in OURS}
    return plan.model_copy(update={"recipe": None, "overrides": overrides})


def jobs_of(plan: ComparisonPlan, folder: Path) -> list[Job]:
    """Every run, checked; seed by seed, so that an unfinished comparison is still a paired one.

    Args:
        folder: where the plan's file lies, for a recipe that is a file.

    Raises:
        ConfigError: the first method whose settings cannot be used, with all that is wrong with
            them, or that would spend other rollouts than the rest.
    """
    jobs = [
        Job(method, seed, _settings(plan, folder, method, seed))
        for seed in plan.seeds
        for method in plan.methods
    ]
    first = jobs[0]
    for job in jobs:
        if job.rollouts != first.rollouts:
            raise ConfigError(
                f"method {job.method}: {job.shape} rollouts where {first.method} has {first.shape};"
                " a method may choose max_steps, prompts_per_step and num_generations, but their"
                " product is the same for all"
            )
        if job.moments != first.moments:
            raise ConfigError(
                f"method {job.method}: {MOMENTS} {job.config.eval_steps} of {job.config.max_steps}"
                f" steps where {first.method} has {first.config.eval_steps} of"
                f" {first.config.max_steps}; every method is evaluated at the same shares of"
                " its run"
            )
    return jobs


def _settings(plan: ComparisonPlan, folder: Path, method: str, seed: int) -> TrainConfig:
    own = plan.methods[method] or {}
    for key in (text.partition("=")[0] for text in _flat(own)):
        section = key.partition(".")[0]
        if (section in SHARED and key != LABELS) or section in OURS:
            where = (
                "put it under `overrides`"
                if section in SHARED
                else "the comparison gives it to each run"
            )
            raise ConfigError(f"method {method}: {key} must be the same for all methods; {where}")
    settings = Source() if plan.recipe is None else read_recipe(plan.recipe, folder)
    # one layer after the other: a controller that a method names starts from that controller's own
    # defaults
    try:
        settings.lay_texts(
            ["verifier.workers=1", *_flat(plan.overrides), *_flat(plan.of_seed(seed))]
        )
        settings.lay_texts([*_flat(own), f"seed={seed}", f"run_name={json.dumps(method)}"])
        return TrainConfig.model_validate(settings.values, context=settings)
    except ConfigError as error:
        raise ConfigError(f"method {method}:\n{error}") from None


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Nested settings as `a.b=value` texts (JSON is YAML); a controller by its name starts from its
    own defaults."""
    for key, value in values.items():
        if (above, key) == ("", "controller") and isinstance(value, Mapping) and "name" in value:
            yield f"controller={json.dumps(value['name'])}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}={json.dumps(value, ensure_ascii=False)}"


def _parsed(text: str) -> tuple[str, Any]:
    path, value, _ = parse_override(text)
    return ".".join(path), value
