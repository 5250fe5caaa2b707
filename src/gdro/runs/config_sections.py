"""The sections of a run's settings, one class each; their defaults are those for a real language model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from gdro.runs.config_base import (
    Count,
    CountOrZero,
    Fraction,
    NonNegative,
    Positive,
    Probability,
    Section,
    Text,
    Texts,
)


class ControllerConfig(Section):
    """The controller by name, its own options beside it; `controller: joint` is short for `{name: joint}`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    name: Text = Field(
        default="prompt_gdro",
        description="Which controller plans rollouts and weights, see below; plain GRPO is `uniform`; one of your own "
        "is `path/to/file.py:Class`.",
    )

    @property
    def options(self) -> dict[str, Any]:
        """The options given for the controller's constructor."""
        return dict(self.model_extra or {})


class VerifierConfig(Section):
    """How a completion is scored."""

    kind: Literal["math", "exact", "reasoning_gym", "python"] = Field(
        default="math",
        description="math-verify, exact match, reasoning-gym's own scorer, or a function of yours; "
        "when not given, reasoning_gym for data of that kind and math for the others.",
    )
    function: Text | None = Field(
        default=None,
        description="For kind python: `path/to/file.py:name`, imported from there and nowhere else.",
    )
    answer: Literal["whole", "last_number", "last_box", "last_answer_tag"] | None = Field(
        default=None,
        description="What of a completion is its answer, after the thinking; null is the kind's own rule: the last "
        "box or closed <answer>, else the text; for kind python the completion as it is.",
    )
    partial_credit: bool = Field(
        default=True,
        description="Train on scores below correct_threshold as they are; false makes them 0 and the others 1.",
    )
    workers: Count | None = Field(
        default=None, description="Worker processes that check answers; null is one a core, at most 8."
    )
    deadline: Positive = Field(
        default=1.0, description="Seconds an answer may take; after that it is wrong and counted."
    )
    memory_mb: Annotated[int, Field(ge=64)] | None = Field(
        default=None, description="Memory limit of a worker, in MiB; null is 512, or 4096 for kind python."
    )


class OptimisationConfig(Section):
    """The policy update."""

    learning_rate: Positive = Field(default=1e-6, description="AdamW's learning rate.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="Course of the learning rate after the warm-up."
    )
    warmup: CountOrZero = Field(default=0, description="Steps of linear warm-up.")
    weight_decay: NonNegative = Field(default=0.0, description="AdamW's weight decay.")
    max_grad_norm: Positive = Field(default=1.0, description="Gradients are clipped to this norm.")
    beta_kl: NonNegative = Field(
        default=0.0, description="Weight of the KL term to the frozen base; 0 needs no reference model."
    )
    clip_low: Probability = Field(default=0.2, description="Lower clip of the likelihood ratio: 1 - clip_low.")
    clip_high: Positive = Field(default=0.28, description="Upper clip of the likelihood ratio: 1 + clip_high.")
    advantage: Literal["grpo", "dr_grpo", "rloo"] = Field(
        default="grpo",
        description="Group advantage: divided by the standard deviation, mean only, or leave-one-out. "
        "A controller with a baseline of its own (controller.baseline: posterior) takes the place of grpo.",
    )
    advantage_ddof: Literal[0, 1] = Field(
        default=0,
        description="Standard deviation of a group: 0 is the population's (the paper), 1 the sample's (TRL, verl).",
    )
    advantage_clip: Positive | None = Field(
        default=5.0, description="Advantages are clipped to +- this, before weighting."
    )
    weighting: Literal["prompt", "row"] = Field(
        default="prompt",
        description="A prompt's share of the loss: equal (scaled by mean_rollouts over its own), "
        "or growing with its rollouts.",
    )
    num_iterations: Count = Field(default=1, description="Updates on the same rollouts.")
    micro_batch: Count | None = Field(
        default=None,
        description="Rows in one forward and backward pass of a process; null is all of them at once.",
    )
    gradient_checkpointing: bool = Field(default=False, description="Trade time for memory in the backward pass.")


class GenerationConfig(Section):
    """How training rollouts are sampled."""

    temperature: Positive = Field(default=1.0, description="Sampling temperature.")
    top_p: Probability = Field(default=1.0, description="Nucleus sampling; 1 is off.")
    top_k: CountOrZero = Field(default=0, description="Sample among the k likeliest tokens; 0 is off.")
    max_prompt_tokens: Count = Field(default=1024, description="Longest prompt allowed; see data.overlong.")
    max_completion_tokens: Count = Field(default=1024, description="Longest completion.")
    rows: Count | None = Field(
        default=None,
        description="Most completions a process samples together with `fast`, which bounds its memory; "
        "null is all of a step.",
    )
    rounds: Literal["dynamic_sampling", "reinforce_ada"] | None = Field(
        default=None,
        description="Generate in rounds before each update, with controller uniform: DAPO's dynamic sampling or "
        "Reinforce-Ada. All rollouts are counted, so a step spends more than its budget; null is one round.",
    )
    rounds_within_budget: bool = Field(
        default=False,
        description="With rounds, let the run as a whole spend what it would without: it makes fewer steps, ends with "
        "the one that reaches steps x prompts_per_step x mean_rollouts rollouts, and its learning rate and evaluations "
        "follow the rollouts spent.",
    )
    fast: bool = Field(
        default=True, description="Prefill each prompt once and drop finished rows; false is the stock path."
    )


class EvaluationConfig(Section):
    """Held-out evaluation, before and after training and every so often."""

    prompts: Count | None = Field(
        default=None, description="Number of held-out prompts, chosen by a hash of the id; null is all."
    )
    samples: Count = Field(default=8, description="Completions per prompt: the k of pass@k and mean@k.")
    temperature: Positive = Field(default=0.6, description="Sampling temperature.")
    top_p: Probability = Field(default=0.8, description="Nucleus sampling; 1 is off.")
    top_k: CountOrZero = Field(default=20, description="Sample among the k likeliest tokens; 0 is off.")
    rows: Count = Field(
        default=512,
        description="Most completions sampled together, which bounds the memory; another value draws others.",
    )
    every: Count | None = Field(
        default=None, description="Also evaluate every so many steps; null is only before and after."
    )


class CheckpointConfig(Section):
    """What is kept for resuming."""

    every: Count = Field(default=50, description="Steps between checkpoints.")
    keep: Annotated[int, Field(ge=2)] = Field(
        default=2, description="Number of newest checkpoints kept; two at least, since the newest may be damaged."
    )


class LoraConfig(Section):
    """Train low-rank adapters instead of all weights (peft)."""

    r: Count = Field(default=16, description="Rank of the adapters.")
    alpha: Positive = Field(default=32.0, description="Scale; the update is multiplied by alpha / r.")
    dropout: Fraction = Field(default=0.0, description="Dropout on the adapters' input.")
    target_modules: Texts = Field(default=("all-linear",), description="Names of the modules adapted.")
