"""`gdro train RECIPE --dry-run`: what can be checked without a GPU or weights, and what a run takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gdro.data.chat import check_chats
from gdro.data.lengths import check_lengths
from gdro.data.prompts import Prompt
from gdro.data.split import choose
from gdro.models.errors import ModelError
from gdro.models.loading import load_tokenizer
from gdro.models.locate import locate
from gdro.runs.batch_shape import batch_shape
from gdro.runs.config import TrainConfig
from gdro.runs.config_prompts import RunPrompts, load_prompts
from gdro.runs.errors import RunError
from gdro.runs.estimate import (
    Architecture,
    Assumptions,
    Hours,
    Memory,
    Work,
    assumptions,
    gpu_hours,
    memory,
    work,
)
from gdro.runs.model_size import model_size
from gdro.runs.rewards import verifier_of
from gdro.runs.trainer_args import controller_of

GB = 1e9
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


@dataclass(frozen=True)
class Found:
    """The prompts that the run would use.

    Attributes:
        prompts: after dropping.
        mean: tokens of a training prompt.
        longest: tokens of the longest prompt; generation.max_prompt_tokens where that was not measured.
        measured: whether there was a tokenizer to measure them.
        advice: what to know of the prompts and the model's chat template, if anything.
    """

    prompts: RunPrompts
    mean: float
    longest: int
    measured: bool
    advice: str | None = None


@dataclass(frozen=True)
class DryRun:
    """What a dry run found. `str` of it is the page that the command prints."""

    config: TrainConfig
    given: Assumptions
    model: Architecture
    origin: str
    found: Found
    shape: tuple[int, int]
    work: Work
    hours: Hours
    memory: Memory

    @property
    def fits(self) -> bool:
        """Whether the worst case fits the GPU assumed (as far as the sizes are known)."""
        return self.memory.peak <= self.given.device_gb * GB

    def __str__(self) -> str:
        parts = [self._checked(), self._batch(), self._memory(), self._cost(), self._assumed()]
        return "\n\n".join(parts)

    def _checked(self) -> str:
        prompts = self.found.prompts
        counts = {what: count for what, count in prompts.counts.items() if count}
        odd = "".join(f"; {count} {what.replace('_', ' ')}" for what, count in counts.items())
        origin = f"at most {self.found.longest}" if self.found.measured else "ASSUMED: no tokenizer here"
        length = f"{self.found.mean:.1f} tokens on average, {origin}"
        advice = "" if self.found.advice is None else f"\nnote        {self.found.advice}"
        return (
            f"settings    ok: {self.config.name}, controller {self.config.controller.name}\n"
            f"data        ok: {len(prompts.train)} training prompts, {len(prompts.heldout)} held out{odd}\n"
            f"prompts     {length}; every gold answer was read by the verifier ({self.config.verifier.kind})\n"
            f"model       {self.config.model}: {self.model.parameters:,} parameters, from {self.origin}{advice}"
        )

    def _batch(self) -> str:
        config, (rows, passes) = self.config, self.shape
        epochs = config.steps * config.prompts_per_step / len(self.found.prompts.train)
        rollouts = f"{config.step_rollouts} {self._rounds()}"
        return (
            f"step        {config.prompts_per_step} prompts x {config.mean_rollouts} rollouts = {rollouts} "
            f"({config.min_rollouts} to {config.max_rollouts} a prompt)\n"
            f"            {self.given.processes:.0f} processes x {passes} passes x {rows} rows\n"
            f"run         {config.steps} steps, {epochs:.2f} epochs"
        )

    def _rounds(self) -> str:
        sampling = self.config.generation
        if sampling.rounds is None:
            return "exactly"
        return "or more, fewer steps" if sampling.rounds_within_budget else "or more, not counted here"

    def _memory(self) -> str:
        lines = [f"memory      on each GPU at worst, in GB; fixed {self.memory.fixed / GB:.1f}, and one at a time"]
        for name in ("sampling", "evaluating", "updating"):
            size = getattr(self.memory, name)
            lines.append(
                f"            {name:<11}{'unknown without config.json' if size is None else f'{size / GB:.1f}'}"
            )
        smaller = "lower generation.rows, evaluation.rows or optimisation.micro_batch, or take more processes"
        verdict = "fits" if self.fits else f"does NOT fit: {smaller}"
        lines.append(f"            peak {self.memory.peak / GB:.1f} of {self.given.device_gb:.0f}: {verdict}")
        return "\n".join(lines)

    def _cost(self) -> str:
        done, hours = self.work, self.hours
        return (
            f"rollouts    {done.rollouts:,}\n"
            f"tokens      {done.generated:.3g} sampled, {done.prefilled:.3g} prompts read for it, "
            f"{done.trained:.3g} trained, {done.scored:.3g} scored, {done.evaluated:.3g} evaluated\n"
            f"GPU-hours   {hours.total:.3g}: sampling {hours.generate:.3g}, update {hours.update:.3g}, "
            f"reference {hours.score:.3g}, evaluation {hours.evaluate:.3g}\n"
            f"            about {hours.total / self.given.processes:.3g} hours on {self.given.processes:.0f} GPUs"
        )

    def _assumed(self) -> str:
        values = "\n".join(f"            {key}={value:g}" for key, value in asdict(self.given).items())
        return f"assumed     change with --assume KEY=NUMBER; the formulas are in docs/performance.md\n{values}"


def dry_run(config: TrainConfig, settings: Sequence[str] = ()) -> DryRun:
    """Check a run and estimate it.

    Raises:
        ConfigError, DataError, GoldError, RunError: whatever would stop the run, as far as it shows without weights.
    """
    given = assumptions(list(settings))
    shape = batch_shape(config, int(given.processes))
    controller_of(config)
    model, origin = model_size(config.model, given.parameters)
    found = _prompts(config, given)
    done = _work(config, len(found.prompts.heldout), found.mean, given.completion_fraction)
    update = config.optimisation
    return DryRun(
        config,
        given,
        model,
        origin,
        found,
        shape,
        done,
        gpu_hours(done, model.parameters, given, checkpointing=update.gradient_checkpointing),
        memory(
            model,
            rows_sampled=min(shape[0] * shape[1], config.generation.rows or shape[0] * shape[1]),
            rows_evaluated=config.evaluation.rows,
            rows_updated=shape[0],
            prompt_tokens=found.longest,
            completion_tokens=config.generation.max_completion_tokens,
            half=config.dtype == "bfloat16",
            reference=update.beta_kl > 0,
            adapters=config.lora is not None,
            checkpointing=update.gradient_checkpointing,
        ),
    )


def _prompts(config: TrainConfig, given: Assumptions) -> Found:
    loaded = load_prompts(config.data)
    train, heldout = loaded.train, choose(loaded.heldout, config.evaluation.prompts, "evaluation")
    tokenizer = _tokenizer(config.model)
    mean, limit, counts = given.prompt_tokens, config.generation.max_prompt_tokens, dict(loaded.counts)
    longest, advice = limit, None
    if tokenizer is not None:
        values = config.data.chat_template_kwargs or {}
        advice = check_chats(train, tokenizer, values)
        kept = check_lengths(train, tokenizer, limit, config.data.overlong, values)
        apart = check_lengths(heldout, tokenizer, limit, config.data.overlong, values)
        counts["overlong"] = kept.dropped + apart.dropped
        train, heldout, mean = kept.prompts, apart.prompts, kept.tokens / max(1, len(kept.prompts))
        longest = min(limit, max(kept.longest, apart.longest))
    if len(train) < config.prompts_per_step:
        raise RunError(
            f"there are {len(train)} training prompts, prompts_per_step is {config.prompts_per_step}; "
            "a step takes distinct prompts, so lower it or add data"
        )
    _check_golds(config, [*train, *heldout])
    return Found(RunPrompts(train, heldout, counts), mean, longest, tokenizer is not None, advice)


def _check_golds(config: TrainConfig, prompts: Sequence[Prompt]) -> None:
    with closing(verifier_of(config.verifier, config.data)) as verifier:
        verifier.check(prompts)


def _tokenizer(name: str) -> Any:
    """The model's tokenizer, or None where there is none to be had; the page then says so."""
    location = locate(name)
    absent = location.kind == "hub" or (
        location.kind == "folder" and not any((Path(location.path) / file).is_file() for file in TOKENIZER_FILES)
    )
    try:
        return load_tokenizer(location)
    except ModelError:
        if absent:
            return None
        raise


def _work(config: TrainConfig, heldout: int, prompt_tokens: float, fraction: float) -> Work:
    every, update = config.evaluation.every, config.optimisation
    evaluations = 1 + (-(-config.steps // every) if every else 1)
    return work(
        steps=config.steps,
        prompts=config.prompts_per_step,
        mean_rollouts=config.mean_rollouts,
        iterations=update.num_iterations,
        forward_passes=(update.beta_kl > 0) + (update.num_iterations > 1),
        prompt_tokens=prompt_tokens,
        completion_tokens=fraction * config.generation.max_completion_tokens,
        evaluation_completions=evaluations * heldout * config.evaluation.samples,
    )
