"""The settings of a run: one strict schema for YAML files, `--set key=value` and Python.

The schema's defaults are those for a real language model (the paper's, where it gives one); the embedded tiny
model has its own in `gdro/recipes/default.yaml`. docs/configuration.md is generated from the descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from gdro.controllers.controller import Controller
from gdro.core.errors import OptionError
from gdro.engines.candidates import candidate_factor
from gdro.engines.compat import check_told
from gdro.engines.interface import leaves_choice
from gdro.runs.config_base import ConfigError, Count, Rollouts, Section, Seed, SettingError, Text, one_as_tuple
from gdro.runs.config_controller import check_controller, controller_arguments, resolved_options
from gdro.runs.config_data import DataConfig, ReasoningGymData
from gdro.runs.config_explain import explained
from gdro.runs.config_sections import (
    CheckpointConfig,
    ControllerConfig,
    EvaluationConfig,
    GenerationConfig,
    LoraConfig,
    OptimisationConfig,
    VerifierConfig,
)
from gdro.runs.config_yaml import Settings, apply_overrides, dump_yaml, read_settings

__all__ = ["DEFAULT_RECIPE", "ConfigError", "TrainConfig", "load_config", "recipe_names"]

DEFAULT_RECIPE = "default"
DEFAULT_CONTROLLER = "prompt_gdro"
DEFAULT_STEPS = 1000


class TrainConfig(Section):
    """All settings of `gdro train`. Wrong ones raise ConfigError, however they come in.

    In Python, sections are mappings: `TrainConfig(steps=4, optimisation={"learning_rate": 1e-5})`.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        default="run",
        description="Name of the run (letters, digits, . _ -); it names the folder if output is null.",
    )
    output: Text | None = Field(
        default=None,
        description="Folder of the run; null is the first free of runs/NAME-001, runs/NAME-002, ...",
    )
    seed: Seed = Field(default=0, description="Seed of prompt order, sampling and controller.")
    steps: Count = Field(default=DEFAULT_STEPS, description="Number of training steps.")
    model: Text = Field(
        default="tiny",
        description="Hugging Face name or folder of a causal language model; `tiny` is the embedded one.",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="bfloat16", description="Number format of the arithmetic; weights and optimiser stay float32."
    )
    prompts_per_step: Count = Field(default=64, description="Number of prompts in a step.")
    mean_rollouts: Rollouts = Field(
        default=4,
        description="Rollouts per prompt on average; every step spends exactly prompts_per_step times this.",
    )
    min_rollouts: Rollouts = Field(default=2, description="Fewest rollouts a controller may give a prompt.")
    max_rollouts: Rollouts = Field(default=12, description="Most rollouts a controller may give a prompt.")
    candidates: Count | None = Field(
        default=None,
        description="Prompts offered per prompt trained on, for a controller that selects; "
        "null is 64 for live_gdro, 4 for the others of that kind, and 1, no choice, for the rest.",
    )
    correct_threshold: float = Field(
        default=1.0, description="A completion whose reward is at or above this counts as correct."
    )
    report_to: Annotated[tuple[Literal["tensorboard", "wandb", "trackio"], ...], BeforeValidator(one_as_tuple)] = Field(
        default=(), description="Trackers beside metrics.jsonl, which is always written."
    )
    data: DataConfig = Field(default=ReasoningGymData(), description="The prompts.")
    verifier: VerifierConfig = Field(default=VerifierConfig(), description="How completions are scored.")
    controller: ControllerConfig = Field(default=ControllerConfig(), description="What plans rollouts and weights.")
    optimisation: OptimisationConfig = Field(default=OptimisationConfig(), description="The policy update.")
    generation: GenerationConfig = Field(default=GenerationConfig(), description="Sampling of training rollouts.")
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="Held-out evaluation.")
    checkpoint: CheckpointConfig = Field(default=CheckpointConfig(), description="What is kept for resuming.")
    lora: LoraConfig | None = Field(default=None, description="Low-rank adapters; null trains all weights.")

    @property
    def step_rollouts(self) -> int:
        """Rollouts of a step of one round."""
        return self.prompts_per_step * self.mean_rollouts

    def to_yaml(self) -> str:
        """Every setting as YAML; loading it gives an equal TrainConfig."""
        return dump_yaml(self.model_dump(mode="json"))

    def controller_arguments(self) -> dict[str, Any]:
        """Keyword arguments for `gdro.make_controller(config.controller.name, ...)`."""
        return controller_arguments(self.controller.name, self.controller.options, dict(self))

    @model_validator(mode="after")
    def _parts_agree(self) -> TrainConfig:
        low, mean, high = self.min_rollouts, self.mean_rollouts, self.max_rollouts
        if not low <= mean <= high:
            raise SettingError(
                "mean_rollouts",
                f"must be from min_rollouts ({low}) to max_rollouts ({high}); change one of the three",
            )
        kind, function = self.verifier.kind, self.verifier.function
        if kind == "python" and function is None:
            raise SettingError("verifier.function", "kind python needs one: path/to/file.py:name")
        if kind != "python" and function is not None:
            raise SettingError("verifier.function", f"only for verifier.kind python, which is {kind} here")
        if kind == "reasoning_gym" and self.data.kind != "reasoning_gym":
            raise SettingError(
                "verifier.kind",
                f"scores its own tasks only, and data.kind is {self.data.kind}; use math, exact or python",
            )
        controller = check_controller(self.controller.name, self.controller.options, dict(self))
        if controller.sets_baselines and self.optimisation.advantage != "grpo":
            raise SettingError(
                "optimisation.advantage",
                f"does not go with {controller.name}'s own baseline and spread; set it to grpo, or controller.baseline "
                "to group",
            )
        self._controller_fits(controller)
        return self

    def _controller_fits(self, controller: Controller) -> None:
        """What the engine would refuse of a controller, before anything is made."""
        try:
            check_told(controller, self.optimisation.advantage, self.optimisation.advantage_ddof)
        except OptionError as error:
            raise SettingError("controller", str(error)) from error
        try:
            candidate_factor(controller, self.candidates)
        except OptionError as error:
            raise SettingError("candidates", str(error)) from error
        rounds = self.generation.rounds
        if rounds is None and self.generation.rounds_within_budget:
            raise SettingError("generation.rounds_within_budget", "needs generation.rounds; one round never exceeds it")
        if self.optimisation.num_iterations > 1 and self.generation.rounds_within_budget:
            raise SettingError("optimisation.num_iterations", "must be 1 with generation.rounds_within_budget")
        if rounds is not None and not leaves_choice(controller):
            raise SettingError("generation.rounds", "takes the place of a controller's choice; set controller: uniform")
        if rounds == "reinforce_ada" and self.optimisation.advantage != "grpo":
            raise SettingError(
                "optimisation.advantage",
                "must be grpo with generation.rounds reinforce_ada, which has a mean and a spread of all its rounds",
            )

    @model_validator(mode="wrap")
    @classmethod
    def _checked(
        cls, values: Any, handler: ModelWrapValidatorHandler[TrainConfig], info: ValidationInfo
    ) -> TrainConfig:
        """Fills the verifier's kind in, and turns pydantic's findings into one ConfigError."""
        settings = info.context if isinstance(info.context, Settings) else Settings(values, place_unknown="")
        try:
            return handler(_completed(values))
        except ValidationError as error:
            raise explained(error, cls, settings) from None


def _completed(values: Any) -> Any:
    """`values` with what follows from others written out: kinds of data and verifier, the controller's defaults."""
    if not isinstance(values, dict):
        return values
    values = dict(values)
    data, verifier = values.setdefault("data", {}), values.setdefault("verifier", {})
    if data == {} or (isinstance(data, dict) and "kind" not in data and "path" not in data):
        data = values["data"] = {"kind": "reasoning_gym", **data}
    kind = data.get("kind") if isinstance(data, dict) else getattr(data, "kind", None)
    if isinstance(verifier, dict) and "kind" not in verifier:
        values["verifier"] = {"kind": "reasoning_gym" if kind == "reasoning_gym" else "math", **verifier}
    values["controller"] = _completed_controller(values.get("controller", {}), _facts(values))
    return values


def _facts(values: Mapping[str, Any]) -> dict[str, Any]:
    """What controllers may ask of the run's other settings; what is not of its type is left out, to be reported."""
    update = values.get("optimisation", {})
    update = dict(update) if isinstance(update, (dict, OptimisationConfig)) else {}
    facts = {
        "horizon": values.get("steps", DEFAULT_STEPS),
        "advantage": update.get("advantage", OptimisationConfig().advantage),
        "ddof": update.get("advantage_ddof", OptimisationConfig().advantage_ddof),
    }
    return {key: fact for key, fact in facts.items() if type(fact) is (str if key == "advantage" else int)}


def _completed_controller(given: Any, facts: Mapping[str, Any]) -> Any:
    """`joint` and `{name: joint}` as `{name: joint, ...}` with every option."""
    if isinstance(given, ControllerConfig):
        given = given.model_dump()
    mapping = {"name": given} if isinstance(given, str) else given
    if not isinstance(mapping, dict) or not isinstance(name := mapping.get("name", DEFAULT_CONTROLLER), str):
        return given
    options = {key: value for key, value in mapping.items() if key != "name"}
    return {"name": name, **resolved_options(name, options, facts)}


def recipe_names() -> list[str]:
    """The recipes inside the package, e.g. `default` and `paper/qwen3_1.7b`."""
    folder = Path(str(resources.files("gdro") / "recipes"))
    found = [*folder.glob("*.yaml"), *folder.glob("paper/*.yaml")]
    return sorted(path.relative_to(folder).as_posix().removesuffix(".yaml") for path in found)


def load_config(recipe_or_path: str | Path | None = None, overrides: Sequence[str] = ()) -> TrainConfig:
    """The checked settings of a run.

    Args:
        recipe_or_path: a recipe's name, or a YAML file; None is the recipe `default`. What the file leaves
            out takes the schema's default.
        overrides: `key=value` texts laid over it, in any order; values are YAML.

    Raises:
        ConfigError: a line per problem, each naming the key, the value, its place and the remedy.
    """
    settings = read_settings(_locate(recipe_or_path))
    apply_overrides(settings, overrides)
    return TrainConfig.model_validate(settings.values, context=settings)


def _locate(recipe_or_path: str | Path | None) -> Path:
    name = DEFAULT_RECIPE if recipe_or_path is None else str(recipe_or_path)
    if name in recipe_names():
        return Path(str(resources.files("gdro") / "recipes" / f"{name}.yaml"))
    path = Path(name)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        recipes = ", ".join(recipe_names())
        raise ConfigError(f"{name}: no recipe of that name ({recipes}), and as a file it {what}")
    return path
