"""The settings of `gdro diffusion`: one flat list, as diffusers' training scripts have.

A setting that means what it means in diffusers' `diffusion_dpo` and SD3 scripts has its name there.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gdro.core.errors import DiffusionError
from gdro.overrides import key_and_value

Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]


def _several(value: Any) -> Any:
    """One word stands for a list of one; null for none."""
    if isinstance(value, str):
        return (value,)
    return () if value is None else tuple(value) if isinstance(value, list) else value


def _unquoted_no(value: Any) -> Any:
    """YAML reads a bare `no` as false."""
    return "no" if value is False else value


BUILT_IN = ("classifier", "ink", "judge")
"""Rewards of the `digits` family: the classifier's probability of the digit asked for, and the mean
brightness."""


class DiffusionConfig(BaseModel):
    """All settings of a run; wrong ones raise DiffusionError through `load_config`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True
    )

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        default="diffusion", description="Names the run's folder if output_dir is null."
    )
    output_dir: Text | None = Field(
        default=None, description="Folder of the run; null is the first free of runs/NAME-001, ..."
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="Seed of everything drawn."
    )
    # the model
    family: Literal["digits", "sd3", "flux"] = Field(
        default="sd3",
        description="Kind of model: a StableDiffusion3Pipeline, a FluxPipeline, or `digits`.",
    )
    pretrained_model_name_or_path: Text = Field(
        default="stabilityai/stable-diffusion-3.5-medium",
        description=(
            "Folder or hub name of the base model. For `digits` a folder, trained there if it is"
            " not."
        ),
    )
    revision: str | None = Field(default=None, description="Revision of the base model on the hub.")
    variant: str | None = Field(
        default=None, description="Variant of its weight files, such as fp16."
    )
    mixed_precision: Annotated[Literal["no", "bf16"], BeforeValidator(_unquoted_no)] = Field(
        default="bf16",
        description="Number format of the frozen weights and arithmetic; adapters are float32.",
    )
    # the groups
    prompts: Text | tuple[Text, ...] = Field(
        default="prompts.txt", description="The prompts, or a text file with one a line."
    )
    num_images_per_prompt: Annotated[int, Field(ge=2)] = Field(
        default=24,
        description="Images sampled and stored for each prompt; groups are drawn from them.",
    )
    num_inference_steps: Count = Field(default=28, description="Steps of the sampler.")
    guidance_scale: NonNegative = Field(default=4.5, description="Guidance while sampling.")
    resolution: Count = Field(default=512, description="Width and height of the images, in pixels.")
    sample_batch_size: Count = Field(default=8, description="Images sampled together.")
    groups_dir: Text | None = Field(
        default=None,
        description="Folder of the stored images, which runs may share; null is one in the run.",
    )
    # the reward
    reward: Text = Field(
        default="classifier",
        description=(
            "path/to/file.py:function of (images, prompts), or for `digits` a built-in: classifier,"
            " ink."
        ),
    )
    judge: Text | None = Field(
        default=None,
        description=(
            "A second reward that is only measured: where the two part, the reward is hacked."
        ),
    )
    # the loss
    loss_type: Literal["gdro", "dpo", "dgpo"] = Field(
        default="gdro",
        description="gdro; dpo is its limit for pairs (tau 0); dgpo is arXiv 2510.08425.",
    )
    group_size: Annotated[int, Field(ge=2)] = Field(
        default=6, description="k: images compared with each other."
    )
    beta: Positive = Field(
        default=12.0,
        description=(
            "Scale of s, on the MEAN over the latent's elements; half of diffusers' beta_dpo."
        ),
    )
    tau: NonNegative = Field(
        default=0.05, description="Temperature of the target, in units of the reward; gdro only."
    )
    mode: Literal["full", "top1"] = Field(
        default="full", description="All places of the ranking or the first."
    )
    gamma: NonNegative = Field(default=0.5, description="Weight of the winner anchor; gdro only.")
    clamp: Positive | None = Field(
        default=None, description="Bound on |s|, against runaway groups; gdro only."
    )
    weighting_scheme: Literal["sigma_sqrt", "logit_normal", "mode", "cosmap", "none"] = Field(
        default="logit_normal", description="SD3's density of times and weight of errors."
    )
    logit_mean: float = Field(default=0.0, description="Of logit_normal.")
    logit_std: Positive = Field(default=1.0, description="Of logit_normal.")
    mode_scale: float = Field(default=1.29, description="Of mode.")
    # the update
    max_train_steps: Count = Field(default=300, description="Number of updates.")
    train_batch_size: Count = Field(
        default=4, description="Groups in one forward and backward pass."
    )
    gradient_accumulation_steps: Count = Field(default=1, description="Passes in one update.")
    gradient_checkpointing: bool = Field(
        default=False, description="Trade time for memory in the backward pass."
    )
    rank: Count = Field(default=32, description="Rank of the LoRA adapters; the base stays frozen.")
    learning_rate: Positive = Field(default=1e-4, description="Peak learning rate of AdamW.")
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="constant_with_warmup", description="Its course."
    )
    lr_warmup_steps: CountOrZero = Field(default=10, description="Steps of rising learning rate.")
    adam_beta1: Share = Field(default=0.9, description="AdamW.")
    adam_beta2: Share = Field(default=0.999, description="AdamW.")
    adam_weight_decay: NonNegative = Field(default=1e-4, description="AdamW.")
    adam_epsilon: Positive = Field(default=1e-8, description="AdamW.")
    max_grad_norm: Positive = Field(default=1.0, description="Bound on the norm of the gradient.")
    ema_decay: Share = Field(
        default=0.0,
        description=(
            "Of the average of the adapters over steps, which is evaluated and saved; 0 is off."
        ),
    )
    # looking and keeping
    validation_steps: Count = Field(default=50, description="Steps between evaluations.")
    num_validation_images: Annotated[int, Field(ge=2)] = Field(
        default=8, description="Images a prompt in an evaluation; the same noise each time."
    )
    num_validation_prompts: Count = Field(
        default=16, description="Prompts in an evaluation, chosen by hash."
    )
    checkpointing_steps: Count = Field(default=50, description="Steps between checkpoints.")
    checkpoints_total_limit: Annotated[int, Field(ge=2)] = Field(
        default=2, description="Checkpoints kept; two at least, since the newest may be damaged."
    )
    report_to: Annotated[
        tuple[Literal["tensorboard", "wandb", "trackio"], ...], BeforeValidator(_several)
    ] = Field(default=(), description="Trackers beside metrics.jsonl, which is always written.")

    @model_validator(mode="after")
    def _parts_agree(self) -> DiffusionConfig:
        if self.loss_type == "dpo" and self.group_size != 2:
            raise ValueError("group_size: loss_type dpo compares pairs; set group_size to 2")
        if self.loss_type != "gdro" and (self.gamma or self.clamp):
            raise ValueError(
                f"gamma, clamp: loss_type {self.loss_type} has none; set gamma to 0 and clamp to"
                " null"
            )
        if self.group_size > self.num_images_per_prompt:
            raise ValueError(
                "group_size: larger than num_images_per_prompt, from which a group is drawn"
            )
        if self.family != "digits":
            for key, name in (("reward", self.reward), ("judge", self.judge)):
                if name in BUILT_IN:
                    raise ValueError(
                        f"{key}: {name} is of family digits; give path/to/file.py:function"
                    )
        return self

    @property
    def prompt_list(self) -> tuple[str, ...]:
        """The prompts.

        Raises:
            DiffusionError: no such file, no prompt in it, or a prompt twice.
        """
        if isinstance(self.prompts, str):
            path = Path(self.prompts)
            if not path.is_file():
                raise DiffusionError(
                    f"prompts: {path} does not exist; give a text file with one prompt a line"
                )
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
            found = tuple(line for line in lines if line)
        else:
            found = self.prompts
        if not found:
            raise DiffusionError(f"prompts: {self.prompts!r} holds none")
        if len(set(found)) < len(found):
            twice = next(prompt for prompt in found if found.count(prompt) > 1)
            raise DiffusionError(
                f"prompts: {twice!r} is there twice; images are kept by prompt, so keep one"
            )
        return found

    def to_yaml(self) -> str:
        """Every setting as YAML that `load_config` reads back."""
        return yaml.safe_dump(
            self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110
        )


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    folder = resources.files("gdro.diffusion") / "recipes"
    return sorted(
        file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")
    )


def load_config(recipe: str | Path, overrides: Sequence[str] = ()) -> DiffusionConfig:
    """The settings of a recipe or YAML file, with `key=value` texts laid over it.

    Raises:
        DiffusionError: no such recipe, not YAML, or settings that cannot be used, a line a problem.
    """
    values = _read(str(recipe))
    for text in overrides:
        path, value = key_and_value(text, DiffusionError)
        values[".".join(path)] = _plain(value, text)
    try:
        return DiffusionConfig.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, found['loc'])) or recipe}: {_message(found)}"
            for found in error.errors()
        ]
        raise DiffusionError("\n".join(lines)) from error


def _message(found: Any) -> str:
    if found["type"] == "extra_forbidden":
        return "no such setting; `gdro diffusion --help` lists them"
    text = str(found["msg"]).removeprefix("Value error, ")
    return text if found["type"] == "value_error" else f"{text}, not {found['input']!r}"


def _read(recipe: str) -> dict[str, Any]:
    if recipe in recipe_names():
        text = (resources.files("gdro.diffusion") / "recipes" / f"{recipe}.yaml").read_text(
            encoding="utf-8"
        )
    elif Path(recipe).is_file():
        text = Path(recipe).read_text(encoding="utf-8")
    else:
        raise DiffusionError(
            f"{recipe}: neither a YAML file nor a recipe; recipes are {', '.join(recipe_names())}"
        )
    values = _plain(text, recipe)
    if not isinstance(values, dict):
        raise DiffusionError(f"{recipe}: settings are `key: value` lines")
    return values


def _plain(text: str, place: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DiffusionError(f"{place}: not valid YAML: {' '.join(str(error).split())}") from error
