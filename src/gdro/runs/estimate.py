"""What a run would take: tokens, arithmetic, GPU-hours and memory, by formulas on a page
(docs/performance.md).

Everything here is pure arithmetic on numbers given; `dry_run.py` gathers the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from gdro.config.base import ConfigError

GPUS = {
    "B200": (180.0, 2250.0),
    "H200": (141.0, 989.0),
    "H100": (80.0, 989.0),
    "A100": (80.0, 312.0),
    "L40S": (48.0, 362.0),
    "A10": (24.0, 125.0),
    "L4": (24.0, 121.0),
    "RTX 4090": (24.0, 165.0),
    "RTX 3090": (24.0, 71.0),
}
"""Memory in 10^9 bytes and 10^12 operations a second, dense in bfloat16, by the vendors' data
sheets."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What an estimate cannot know. Each is set by `--assume KEY=NUMBER`; the machine's own figures
    take the place of the first three.

    Attributes:
        processes: GPUs, one process each, every one with a whole copy of the model (data parallel).
        device_gb: memory of a GPU, in 10^9 bytes.
        peak_tflops: 10^12 operations a second of a GPU at its best (989: H100, dense bf16, the
            vendor's figure).
        train_utilisation: share of that reached in passes forward and backward.
        generate_utilisation: share of that reached while sampling.
        completion_fraction: mean length of a completion over the longest allowed.
        prompt_tokens: mean prompt, used only where no tokenizer is at hand.
        parameters: of the model, in 10^9; 0 takes the model's own.
    """

    processes: float = 8
    device_gb: float = 80.0
    peak_tflops: float = 989.0
    train_utilisation: float = 0.35
    generate_utilisation: float = 0.1
    completion_fraction: float = 0.25
    prompt_tokens: float = 150.0
    parameters: float = 0.0


def assumptions(
    settings: Sequence[str], here: Mapping[str, float]
) -> tuple[Assumptions, dict[str, str]]:
    """The defaults with what is known of the machine and `key=number` texts laid over them.

    Args:
        settings: what the user assumes; `gpu=H100` stands for that GPU's memory and speed.
        here: what follows from the machine.

    Returns:
        All assumptions, and where each that is no default comes from.

    Raises:
        ConfigError: an unknown key or GPU, or no positive number.
    """
    known = [field.name for field in fields(Assumptions)]
    given, origins = replace(Assumptions(), **here), dict.fromkeys(here, "this machine")
    for text in sorted(settings, key=lambda text: not text.startswith("gpu=")):
        key, _, value = text.partition("=")
        if key == "gpu":
            if value not in GPUS:
                raise ConfigError(f"--assume {text}: not known; there are {', '.join(GPUS)}")
            gpu = dict(zip(("device_gb", "peak_tflops"), GPUS[value], strict=True))
            given = replace(given, **gpu)
            origins |= dict.fromkeys(gpu, value)
            continue
        if key not in known:
            raise ConfigError(f"--assume {text}: unknown; there are gpu, {', '.join(known)}")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 < number < 1e12 or (key in ("completion_fraction", *known[3:5]) and number > 1):
            raise ConfigError(f"--assume {text}: must be a positive number, a share at most 1")
        if key == "processes" and number != int(number):
            raise ConfigError(f"--assume {text}: must be a whole number")
        given = replace(given, **{key: number})
        origins[key] = "given"
    return given, origins


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a decoder that matter here; as many as are known.

    Attributes:
        parameters: all of them, N. layers, hidden, kv_heads, head_dim, vocabulary, positions: from
        the model's config.json; None without one.
    """

    parameters: int
    layers: int | None = None
    hidden: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocabulary: int | None = None
    positions: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What a run does, counted.

    Attributes:
        rollouts: sampled and trained on.
        generated: tokens sampled in training.
        prefilled: prompt tokens read to sample them, each prompt once a step.
        trained: tokens through the update, prompt and completion of every rollout, every iteration.
        scored: tokens through a further pass forward (reference model; old policy with several
            iterations or with vLLM).
        evaluated: tokens sampled in evaluations.
    """

    rollouts: int
    generated: float
    prefilled: float
    trained: float
    scored: float
    evaluated: float


def work(
    *,
    steps: int,
    prompts: int,
    mean_rollouts: int,
    iterations: int,
    forward_passes: int,
    prompt_tokens: float,
    completion_tokens: float,
    evaluation_completions: int,
) -> Work:
    """Count a run that generates `steps` times for `prompts` prompts, each time for `iterations`
    updates; `forward_passes` are those beside them."""
    rollouts = steps * prompts * mean_rollouts
    read = rollouts * (prompt_tokens + completion_tokens)
    return Work(
        rollouts=rollouts,
        generated=rollouts * completion_tokens,
        prefilled=steps * prompts * prompt_tokens,
        trained=read * iterations,
        scored=read * forward_passes,
        evaluated=evaluation_completions * completion_tokens,
    )


@dataclass(frozen=True, slots=True)
class Hours:
    """GPU-hours by activity."""

    generate: float
    update: float
    score: float
    evaluate: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.generate + self.update + self.score + self.evaluate


def gpu_hours(done: Work, parameters: int, given: Assumptions, *, checkpointing: bool) -> Hours:
    """2 N operations a token forward, 4 N backward, and 2 N more where gradient checkpointing goes
    forward twice.

    Attention over the context (small beside N for a few thousand tokens), scoring of answers,
    loading of weights and waiting are left out.
    """
    peak = given.peak_tflops * 1e12 * 3600
    sample = 2 * parameters / (peak * given.generate_utilisation)
    forward = 2 * parameters / (peak * given.train_utilisation)
    return Hours(
        generate=(done.generated + done.prefilled) * sample,
        update=done.trained * forward * (4 if checkpointing else 3),
        score=done.scored * forward,
        evaluate=done.evaluated * sample,
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one GPU; the parts after `fixed` are not there at the same time. None: the sizes are
    not known.

    Attributes:
        fixed: weights, gradients, Adam's moments, reference model.
        sampling: keys and values of the rollouts that are sampled together, all of them at their
            longest.
        evaluating: the same for an evaluation's batch.
        updating: activations and logits of one micro-batch, all rows at their longest.
    """

    fixed: int
    sampling: int | None = None
    evaluating: int | None = None
    updating: int | None = None

    @property
    def peak(self) -> int:
        """The largest sum."""
        return self.fixed + max(self.sampling or 0, self.evaluating or 0, self.updating or 0)


def memory(
    model: Architecture,
    *,
    rows_sampled: int,
    rows_evaluated: int,
    rows_updated: int,
    prompt_tokens: int,
    completion_tokens: int,
    half: bool,
    reference: bool,
    adapters: bool,
    checkpointing: bool,
) -> Memory:
    """Bytes on one GPU at worst, for `gdro train` on TRL.

    Fixed: float32 weights 4 N, gradients 4 N, two moments 8 N (adapters: the weights only); 2 N for
    the half-precision copy of autocast; 4 N for a reference model, which adapters do not need. Keys
    and values: 2 * layers * kv_heads * head_dim numbers a token. Activations: 34 * hidden bytes a
    token and layer in half precision, without attention scores (Korthikanti et al. 2022); with
    checkpointing one layer of that, and 2 * hidden bytes for each layer's input. Logits: float32,
    with their gradient.
    """
    n = model.parameters
    fixed = (
        n * (4 if adapters else 16)
        + (2 * n if half else 0)
        + (4 * n if reference and not adapters else 0)
    )
    if (
        model.layers is None
        or model.hidden is None
        or model.kv_heads is None
        or model.head_dim is None
        or model.vocabulary is None
    ):
        return Memory(fixed)
    width = 2 if half else 4
    longest = prompt_tokens + completion_tokens
    token = 2 * model.layers * model.kv_heads * model.head_dim * width
    layer = 17 * width * model.hidden
    kept = layer + width * model.hidden * model.layers if checkpointing else layer * model.layers
    logits = rows_updated * completion_tokens * model.vocabulary * 8
    return Memory(
        fixed,
        sampling=rows_sampled * longest * token,
        evaluating=rows_evaluated * longest * token,
        updating=rows_updated * longest * kept + logits,
    )
