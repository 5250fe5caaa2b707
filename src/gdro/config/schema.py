"""The settings of a run: one strict schema for YAML files, `--set key=value` and Python.

What TRL's GRPOConfig has keeps TRL's name, at the top level; sections hold what TRL does not have.
The defaults are those for a real language model (the paper's, where it gives one); the embedded
tiny model has its own in `gdro/recipes/default.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from os.path import expanduser
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import to_jsonable_python

from gdro.config.base import (
    Count,
    CountOrZero,
    Fraction,
    Name,
    NonNegative,
    PathText,
    Positive,
    Probability,
    Rollouts,
    Section,
    Seed,
    Text,
    Texts,
    one_as_tuple,
)
from gdro.config.data import DataConfig, ReasoningGymData
from gdro.config.explain import Checked
from gdro.config.yaml_text import dump_yaml
from gdro.controllers.registry import SLOTS, controller_options
from gdro.core.advantages import AdvantageKind
from gdro.core.errors import OptionError
from gdro.engines.compat import DEFAULT_CONTROLLER, Rounds
from gdro.engines.session import Weighting

Tracker = Literal["tensorboard", "wandb", "trackio"]
LENGTH = 1024
"""Tokens of a prompt and of a completion where nothing says their limit."""
VLLM_SERVER = "http://localhost:8000"
"""Where `vllm serve` listens unless told otherwise."""
OF_RUN = {
    "mean_rollouts": "num_generations",
    "min_rollouts": "min_rollouts",
    "max_rollouts": "max_rollouts",
    "correct_threshold": "correct_threshold",
    "seed": "seed",
}
"""What every controller must know of its run, and the setting that says it."""


class _Named(Section):
    """Something by its name, its own options beside it; a name alone is short for `{name: ...}`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    @property
    def options(self) -> dict[str, Any]:
        """Its own options by name; the parts of a composition."""
        return dict(self.model_extra or {})


class ControllerConfig(_Named):
    """The controller, its own options beside its name; `controller: joint` is short for `{name:
    joint}`."""

    name: PathText | None = None
    """Which controller chooses prompts, rollouts and weights (docs/controllers.md): plain GRPO is
    `uniform`; one of your own is `path/to/file.py:Class`; null is text_gdro, or a composition of
    the parts that are named."""

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, given: Any) -> Any:
        """Every option of the preset that is named, so that a stored run is complete."""
        if not isinstance(given, dict) or (
            given.get("name") is None and SLOTS.keys() & given.keys()
        ):
            return given
        name = given.get("name") or DEFAULT_CONTROLLER
        try:
            known = controller_options(expanduser(name) if isinstance(name, str) else name)
        except OptionError:  # told by the rules, with its place
            known = {}
        defaults = {key: option.default for key, option in known.items() if key not in OF_RUN}
        return {**to_jsonable_python(defaults), **given, "name": name}


class ObjectiveConfig(_Named):
    """What an update maximises, its own options beside its name; `objective: disco` is short for
    `{name: disco}`."""

    name: Literal["grpo", "dppo", "pps", "cppo", "dagrpo", "disco", "direct_reward"] = "grpo"
    """The clipped loss on the controller's advantages; the same with rollouts pruned (dppo, pps,
    cppo) or masked and solutions learned from (dagrpo); or a loss of its own: see
    docs/objectives.md."""

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, given: Any) -> Any:
        """Every option of the objective that is named; one other than grpo imports torch."""
        name = given.get("name", "grpo") if isinstance(given, dict) else "grpo"
        if name == "grpo" or not isinstance(name, str):
            return given
        from gdro.objectives.registry import objective_defaults

        return {**objective_defaults(name), **given}


class VerifierConfig(Section):
    """How a completion is scored."""

    kind: Literal["auto", "math", "exact", "reasoning_gym", "python"] = "auto"
    """math-verify, exact match, reasoning-gym's own scorer, or a function of yours; auto is
    reasoning_gym for data of that kind and math for the others."""
    function: PathText | None = None
    """For kind python, `path/to/file.py:name`; imported from there and nowhere else."""
    answer: Literal["whole", "last_number", "last_box", "last_answer_tag"] | None = None
    """What of a completion is its answer, after the thinking; null is the kind's own rule: the last
    box or closed <answer>, else the text; for kind python the completion as it is."""
    partial_credit: bool = True
    """Train on scores below correct_threshold as they are; false makes them 0 and the others 1."""
    workers: Count | None = None
    """Worker processes that check answers; null is one a core, at most 8."""
    timeout: Positive = 1.0
    """Seconds an answer may take; after that it is wrong and counted."""
    memory_mb: Annotated[int, Field(ge=64)] | None = None
    """Memory limit of a worker, in MiB; null is 512, or 4096 for kind python."""


class GenerationConfig(Section):
    """What generates, and how training rollouts are generated."""

    backend: Literal["fast", "transformers", "vllm"] = "fast"
    """fast reads each prompt once and drops finished rows, with the same completions; transformers
    is the stock path; vllm, for evaluation too, is an engine of its own: see docs/growing.md."""
    vllm_mode: Literal["colocate", "server"] = "colocate"
    """For backend vllm: in the training processes, on their GPUs, or a server that is started
    apart."""
    vllm_gpu_memory_utilization: Annotated[float, Field(gt=0, lt=1)] | None = None
    """For vllm_mode colocate: share of each GPU's memory that vLLM takes; null is 0.3, and 0.9 in
    `gdro evaluate`, where nothing is trained beside it."""
    vllm_tensor_parallel_size: Count = 1
    """For vllm_mode colocate: GPUs that share a model; it divides the number of processes."""
    vllm_server_base_url: Text | None = None
    """For vllm_mode server: its address, without a slash at the end; null is
    http://localhost:8000."""
    rows: Count | None = None
    """Most completions a process samples together with backend fast, which bounds its memory; null
    is all of a step. vllm has a memory of its own, and no use for it."""
    rounds: Rounds | None = None
    """Generate in rounds before each update, with controller uniform: DAPO's dynamic sampling,
    Reinforce-Ada, HORA or C-GRPO. All rollouts are counted, so a step of the first two spends more
    than its budget, as one in 50 of C-GRPO does, which calibrates; null is one round."""
    rounds_within_budget: bool = False
    """With rounds, let the run as a whole spend what it would without: it makes fewer steps, ends
    with the one that reaches max_steps x prompts_per_step x num_generations rollouts, and its
    learning rate and evaluations follow the rollouts spent."""

    @property
    def server_url(self) -> str:
        """The address of the server that vllm_mode server asks."""
        return self.vllm_server_base_url or VLLM_SERVER


class EvaluationConfig(Section):
    """Held-out evaluation, before and after training and every `eval_steps`."""

    prompts: Count | None = None
    """Number of held-out prompts, chosen by a hash of the id; null is all."""
    num_generations: Count = 8
    """Completions per prompt: the k of pass@k and mean@k."""
    temperature: NonNegative = 0.6
    """Sampling temperature; 0 is greedy, with num_generations 1."""
    top_p: Probability = 0.8
    """Nucleus sampling; 1 is off."""
    top_k: CountOrZero = 20
    """Sample among the k likeliest tokens; 0 is off."""
    rows: Count = 512
    """Most completions sampled together, which bounds the memory; another value draws others. With
    generation.backend vllm it has no effect."""


class LoraConfig(Section):
    """Train low-rank adapters instead of all weights (peft)."""

    r: Count = 16
    """Rank of the adapters, trained alone where lora is set."""
    alpha: Positive = 32.0
    """Scale; the update is multiplied by alpha / r."""
    dropout: Fraction = 0.0
    """Dropout on the adapters' input."""
    target_modules: Texts = ("all-linear",)
    """Names of the modules adapted."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Most tokens of a prompt and of a completion."""

    prompt: int
    completion: int


class TrainFields(Checked):
    """All settings of `gdro train`; `TrainConfig` has the rules between them."""

    run_name: Name = "run"
    """Name of the run (letters, digits, . _ -); it names the folder if output_dir is null."""
    output_dir: PathText | None = None
    """Folder of the run; null is the first free of runs/NAME-001, runs/NAME-002, ..."""
    seed: Seed = 0
    """Seed of prompt order, sampling and controller."""
    max_steps: Count = 1000
    """Number of training steps."""
    model: PathText = "tiny"
    """A causal language model, by Hugging Face folder or name, a .gguf file, `smollm2` once
    fetched, or `tiny`, the embedded one; see docs/models.md."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Number format of the arithmetic; weights and optimiser stay float32."""
    eval_steps: Count | None = None
    """Steps between evaluations on held-out prompts; null is only before and after training."""
    save_steps: Count = 50
    """Steps between checkpoints."""
    save_total_limit: Annotated[int, Field(ge=2)] = 2
    """Number of newest checkpoints kept; two at least, since the newest may be damaged."""
    push_to_hub: bool = False
    """Send the trained model to the Hugging Face hub at the end; a repository made for it is
    private."""
    hub_model_id: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")] | None = None
    """Its name there, `account/name`; null is run_name under the account of the token."""
    report_to: Annotated[tuple[Tracker, ...], BeforeValidator(one_as_tuple)] = ()
    """Trackers beside metrics.jsonl, which is always written."""

    prompts_per_step: Count = 64
    """Number of prompts in a step."""
    num_generations: Rollouts = 4
    """Rollouts per prompt on average; every step spends exactly prompts_per_step times this."""
    min_rollouts: Rollouts | None = None
    """Fewest rollouts a controller may give a prompt; null is 2, or num_generations if that is
    1."""
    max_rollouts: Rollouts | None = None
    """Most rollouts a controller may give a prompt; null is three times num_generations, and at
    least 12."""
    candidates: Count | None = None
    """Prompts offered per prompt trained on, for a controller that selects; null is that
    controller's own number, and 1, no choice, for the rest."""
    correct_threshold: float = 1.0
    """A completion whose reward is at or above this counts as correct."""

    temperature: Positive = 1.0
    """Sampling temperature of training rollouts."""
    top_p: Probability = 1.0
    """Nucleus sampling; 1 is off."""
    top_k: CountOrZero = 0
    """Sample among the k likeliest tokens; 0 is off."""
    max_prompt_length: Count | None = None
    """Most tokens of a prompt, see data.overlong; null is 1024, or less where the model has fewer
    positions."""
    max_completion_length: Count | None = None
    """Most tokens of a completion; null is 1024, or less where the model has fewer positions."""

    learning_rate: Positive = 1e-6
    """AdamW's learning rate."""
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the learning rate after the warm-up."""
    warmup_steps: CountOrZero = 0
    """Steps of linear warm-up."""
    weight_decay: NonNegative = 0.0
    """AdamW's weight decay."""
    max_grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    beta: NonNegative = 0.0
    """Weight of the KL term to the frozen base; 0 needs no reference model."""
    epsilon: Probability = 0.2
    """Lower clip of the likelihood ratio: 1 - epsilon."""
    epsilon_high: Positive = 0.28
    """Upper clip of the likelihood ratio: 1 + epsilon_high."""
    advantage: AdvantageKind = "grpo"
    """Group advantage: divided by the standard deviation, mean only, or leave-one-out. A controller
    with a baseline of its own (controller.baseline: posterior) takes the place of grpo."""
    advantage_ddof: Literal[0, 1] = 0
    """Standard deviation of a group: 0 is the population's (the paper), 1 the sample's (TRL,
    verl)."""
    advantage_clip: Positive | None = 5.0
    """Advantages are clipped to +- this, before weighting."""
    weighting: Weighting = "prompt"
    """A prompt's share of the loss: equal (scaled by num_generations over its own rollouts), or
    growing with its rollouts."""
    num_iterations: Count = 1
    """Updates on the same rollouts."""
    per_device_train_batch_size: Count | None = None
    """Rows in one forward and backward pass of a process; null is all of a step's at once."""
    gradient_checkpointing: bool = False
    """Trade time for memory in the backward pass."""

    data: DataConfig = ReasoningGymData()
    """The prompts."""
    verifier: VerifierConfig = VerifierConfig()
    """How completions are scored."""
    controller: ControllerConfig = ControllerConfig()
    """What plans rollouts and weights."""
    objective: ObjectiveConfig = ObjectiveConfig()
    """What an update maximises."""
    generation: GenerationConfig = GenerationConfig()
    """What generates, and how training rollouts are generated."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Held-out evaluation."""
    lora: LoraConfig | None = None
    """Low-rank adapters; null trains all weights."""

    @property
    def step_rollouts(self) -> int:
        """Rollouts of a step of one round."""
        return self.prompts_per_step * self.num_generations

    @property
    def generations(self) -> int:
        """Batches of rollouts that the run generates: `max_steps` counts updates, `num_iterations`
        of them a batch."""
        return -(-self.max_steps // self.num_iterations)

    @property
    def lengths(self) -> Lengths:
        """Most tokens of a prompt and of a completion, where the model does not matter."""
        return Lengths(self.max_prompt_length or LENGTH, self.max_completion_length or LENGTH)

    def for_model(self, positions: int | None) -> Self:
        """The same with both lengths set: what is not given is LENGTH, or what the model's
        positions leave.

        Args:
            positions: those that the model was made for; None where its config does not say.
        """
        prompt, completion = self.max_prompt_length, self.max_completion_length
        room = 2 * LENGTH if positions is None else positions
        if completion is None:
            completion = _up_to(LENGTH, room // 2 if prompt is None else room - prompt)
        if prompt is None:
            prompt = _up_to(LENGTH, room - completion)
        return self.model_copy(
            update={"max_prompt_length": prompt, "max_completion_length": completion}
        )

    def to_yaml(self) -> str:
        """Every setting as YAML; loading it gives an equal TrainConfig."""
        return dump_yaml(self.model_dump(mode="json"))

    def write_out(self) -> None:
        """The verifier follows from the data."""
        if self.verifier.kind == "auto":
            kind = "reasoning_gym" if self.data.kind == "reasoning_gym" else "math"
            verifier = self.verifier.model_copy(update={"kind": kind})
            self.__dict__["verifier"] = verifier  # it is frozen only for those who use it


def _up_to(length: int, room: int) -> int:
    """`length`, or less where there is some room, but not so much; without any it will not fit, and
    that is told."""
    return min(length, room) if room > 0 else length
