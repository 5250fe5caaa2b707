"""The settings of a run: one strict schema for YAML, command line and Python.

The defaults are those for a real language model (the paper's, where it gives one); the embedded tiny model has its
own in `gdro/recipes/default.yaml`. docs/configuration.md is generated from the descriptions below.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from gdro.runs.config_base import (
    Count,
    CountOrZero,
    Fraction,
    NonNegative,
    Positive,
    Probability,
    Section,
    Seed,
    Text,
    Texts,
)
from gdro.runs.config_data import DataConfig, ReasoningGymData

Scalar = bool | int | float | str | None


class ControllerConfig(Section):
    """The controller by name, with its own options beside the name; `controller: joint` alone is `{name: joint}`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Scalar | list[Scalar]]

    name: Text = Field("joint", description="Which controller plans rollouts and weights.")

    @property
    def options(self) -> dict[str, Any]:
        """The options given for the controller's constructor."""
        return dict(self.model_extra or {})


class VerifierConfig(Section):
    """How a completion is scored."""

    kind: Literal["math", "exact", "reasoning_gym", "python"] = Field(
        "math",
        description="math-verify, exact match, reasoning-gym's own scorer, or a function of yours; when not given, "
        "reasoning_gym for data of that kind and math for the others.",
    )
    function: Text | None = Field(
        None, description="For kind python: `path/to/file.py:name`, imported from there and nowhere else."
    )
    workers: Count = Field(2, description="Number of worker processes that check answers.")
    deadline: Positive = Field(
        1.0, description="Seconds an answer may take; after that it is wrong and counted."
    )
    memory_mb: Count = Field(512, description="Memory limit of a worker, in MiB.")


class OptimisationConfig(Section):
    """The policy update."""

    learning_rate: Positive = Field(1e-6, description="AdamW's learning rate.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="Course of the learning rate after the warm-up."
    )
    warmup: CountOrZero = Field(0, description="Steps of linear warm-up.")
    weight_decay: NonNegative = Field(0.0, description="AdamW's weight decay.")
    max_grad_norm: Positive = Field(1.0, description="Gradients are clipped to this norm.")
    beta_kl: NonNegative = Field(
        0.0, description="Weight of the KL term to the frozen base; 0 needs no reference model."
    )
    clip_low: Probability = Field(0.2, description="Lower clip of the likelihood ratio: 1 - clip_low.")
    clip_high: Positive = Field(0.28, description="Upper clip of the likelihood ratio: 1 + clip_high.")
    advantage: Literal["grpo", "dr_grpo", "rloo"] = Field(
        "grpo", description="Group advantage: divided by the standard deviation, mean only, or leave-one-out."
    )
    advantage_clip: Positive | None = Field(
        5.0, description="Advantages are clipped to +- this, before weighting."
    )
    weighting: Literal["prompt", "row"] = Field(
        "prompt",
        description="A prompt's share of the loss: the same for every prompt (scaled by mean rollouts over its own), "
        "or growing with its rollouts.",
    )
    num_iterations: Count = Field(1, description="Updates on the same rollouts.")
    micro_batch: Count | None = Field(
        None, description="Rows in one forward and backward pass of a process; null is all of them at once."
    )
    gradient_checkpointing: bool = Field(False, description="Trade time for memory in the backward pass.")


class GenerationConfig(Section):
    """How training rollouts are sampled."""

    temperature: Positive = Field(1.0, description="Sampling temperature.")
    top_p: Probability = Field(1.0, description="Nucleus sampling; 1 is off.")
    top_k: CountOrZero = Field(0, description="Sample among the k likeliest tokens; 0 is off.")
    max_prompt_tokens: Count = Field(1024, description="Longest prompt allowed; see data.overlong.")
    max_completion_tokens: Count = Field(1024, description="Longest completion.")
    fast: bool = Field(
        True, description="Prefill each prompt once and drop finished rows; false is the stock path."
    )


class EvaluationConfig(Section):
    """Held-out evaluation, before and after training and every so often."""

    prompts: Count | None = Field(
        None, description="Number of held-out prompts, chosen by a hash of the id; null is all."
    )
    samples: Count = Field(8, description="Completions per prompt: the k of pass@k and mean@k.")
    temperature: Positive = Field(0.6, description="Sampling temperature.")
    top_p: Probability = Field(0.8, description="Nucleus sampling; 1 is off.")
    top_k: CountOrZero = Field(20, description="Sample among the k likeliest tokens; 0 is off.")
    every: Count | None = Field(
        None, description="Also evaluate every so many steps; null is only before and after."
    )


class CheckpointConfig(Section):
    """What is kept for resuming."""

    every: Count = Field(50, description="Steps between checkpoints.")
    keep: Count = Field(2, description="Number of newest checkpoints kept.")


class LoraConfig(Section):
    """Train low-rank adapters instead of all weights (peft)."""

    r: Count = Field(16, description="Rank.")
    alpha: Positive = Field(32.0, description="Scale; the update is multiplied by alpha / r.")
    dropout: Fraction = Field(0.0, description="Dropout on the adapters' input.")
    target_modules: Texts = Field(("all-linear",), description="Names of the modules adapted.")


def _name_as_mapping(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class TrainConfig(Section):
    """All settings of `gdro train`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        "run", description="Name of the run; names its folder when output is null."
    )
    output: Text | None = Field(
        None, description="Folder of the run; null is the first free one of runs/NAME-001, runs/NAME-002, ..."
    )
    seed: Seed = Field(0, description="Seed of prompt order, sampling and controller.")
    steps: Count = Field(1000, description="Number of training steps.")
    model: Text = Field(
        "tiny",
        description="Hugging Face name or folder of a causal language model; `tiny` is the embedded one.",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "bfloat16", description="Number format of weights and arithmetic."
    )
    prompts_per_step: Count = Field(64, description="Number of prompts in a step.")
    mean_rollouts: Count = Field(
        4,
        description="Rollouts per prompt on average; every step spends exactly prompts_per_step times this.",
    )
    min_rollouts: Count = Field(2, description="Fewest rollouts a controller may give a prompt.")
    max_rollouts: Count = Field(12, description="Most rollouts a controller may give a prompt.")
    correct_threshold: float = Field(
        1.0, description="A completion whose reward is at or above this counts as correct."
    )
    report_to: Annotated[
        tuple[Literal["tensorboard", "wandb", "trackio"], ...],
        BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v),
    ] = Field((), description="Trackers beside metrics.jsonl, which is always written.")
    data: DataConfig = Field(default_factory=ReasoningGymData, description="The prompts.")
    verifier: VerifierConfig = Field(
        default_factory=VerifierConfig, description="How completions are scored."
    )
    controller: Annotated[ControllerConfig, BeforeValidator(_name_as_mapping)] = Field(
        default_factory=ControllerConfig, description="A controller's name, or a mapping of name and options."
    )
    optimisation: OptimisationConfig = Field(
        default_factory=OptimisationConfig, description="The policy update."
    )
    generation: GenerationConfig = Field(
        default_factory=GenerationConfig, description="Sampling of training rollouts."
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="Held-out evaluation.")
    checkpoint: CheckpointConfig = Field(
        default_factory=CheckpointConfig, description="What is kept for resuming."
    )
    lora: LoraConfig | None = Field(None, description="Low-rank adapters; null trains all weights.")

    @model_validator(mode="before")
    @classmethod
    def _verifier_follows_data(cls, values: Any) -> Any:
        """Reasoning-gym data is scored by reasoning-gym's own scorer unless the verifier's kind is given."""
        if not isinstance(values, dict):
            return values
        data, verifier = values.get("data", {}), values.get("verifier", {})
        if isinstance(data, ReasoningGymData) or (
            isinstance(data, dict) and data.get("kind", "reasoning_gym") == "reasoning_gym"
        ):
            if isinstance(data, dict):
                values = {**values, "data": {"kind": "reasoning_gym", **data}}
            if isinstance(verifier, dict) and "kind" not in verifier:
                return {**values, "verifier": {"kind": "reasoning_gym", **verifier}}
        return values

    @model_validator(mode="after")
    def _parts_agree(self) -> TrainConfig:
        low, mean, high = self.min_rollouts, self.mean_rollouts, self.max_rollouts
        if not low <= mean <= high:
            raise ValueError(
                f"min_rollouts {low}, mean_rollouts {mean}, max_rollouts {high}: "
                "must be min_rollouts <= mean_rollouts <= max_rollouts"
            )
        if (self.verifier.kind == "python") != (self.verifier.function is not None):
            raise ValueError(
                f"verifier.kind is {self.verifier.kind} and verifier.function is {self.verifier.function!r}: "
                "kind python needs a function, and no other kind takes one"
            )
        if self.verifier.kind == "reasoning_gym" and self.data.kind != "reasoning_gym":
            raise ValueError(
                f"verifier.kind is reasoning_gym and data.kind is {self.data.kind}: "
                "its scorer only knows its own tasks; use math, exact or python"
            )
        return self
