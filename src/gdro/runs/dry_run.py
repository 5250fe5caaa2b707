"""`gdro train RECIPE --dry-run`: what can be checked without a GPU or weights, and what a run
takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gdro.config import TrainConfig, controller_of
from gdro.controllers.registry import controller_label
from gdro.core.errors import ModelError
from gdro.engines.idle import why_idle
from gdro.models.loading import load_tokenizer
from gdro.models.locate import locate
from gdro.runs import vllm
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
from gdro.runs.folder import check_free
from gdro.runs.machine import this_machine
from gdro.runs.model_size import model_size
from gdro.runs.policy import check_context
from gdro.runs.prepare import Faults, Fitting, fitting_prompts
from gdro.runs.processes import batch_shape
from gdro.runs.rewards import verifier_of

GB = 1e9
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)

GOLDS = {
    "": "every gold answer was read by the verifier ({})",
    "python": "the reward function was tried on the first prompt alone",
    "reasoning_gym": "of each cell one gold answer was tried by its scorer",
}
"""What was done to the gold answers, by the kind of verifier."""


@dataclass(frozen=True)
class DryRun:
    """What a dry run found. `str` of it is the page that the command prints."""

    config: TrainConfig
    given: Assumptions
    origins: dict[str, str]
    machine: str
    model: Architecture
    origin: str
    found: Fitting
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
        odd = "".join(f"; {note}" for note in prompts.notes)
        length = f"{self.given.prompt_tokens:.1f} tokens on average, ASSUMED: no tokenizer here"
        if self.found.mean is not None:
            length = f"{self.found.mean:.1f} tokens on average, at most {self.found.longest}"
        notes = "".join(f"\nnote        {note}" for note in self.found.notes)
        kind = self.config.verifier.kind
        golds = GOLDS.get(kind, GOLDS[""]).format(kind)
        return (
            f"settings    ok: {self.config.run_name}, controller"
            f" {controller_label(self.config.controller.model_dump())}\n"
            f"data        ok: {len(prompts.train)} training"
            f" prompts, {len(prompts.heldout)} held out{odd}\nprompts     {length}; {golds}\n"
            f"model       {self.config.model}: {self.model.parameters:,} parameters, from"
            f" {self.origin}{notes}"
        )

    def _batch(self) -> str:
        config, (rows, passes) = self.config, self.shape
        with_vllm = config.generation.backend == "vllm"
        generation = f"\nvllm        {vllm.summary(config)}" if with_vllm else ""
        epochs = config.generations * config.prompts_per_step / len(self.found.prompts.train)
        rollouts, bounds = f"{config.step_rollouts} {self._rounds()}", controller_of(config).facts
        return (
            f"step        {config.prompts_per_step} prompts x {config.num_generations} rollouts ="
            f" {rollouts} ({bounds.min_rollouts} to {bounds.max_rollouts} a prompt)\n           "
            f" processes x passes x rows: {self.given.processes:.0f} x {passes} x {rows}\nrun      "
            f"   {config.max_steps} steps, {epochs:.2f} epochs{generation}"
        )

    def _rounds(self) -> str:
        sampling = self.config.generation
        if sampling.rounds is None:
            return "exactly"
        return (
            "or more, fewer steps" if sampling.rounds_within_budget else "or more, not counted here"
        )

    def _memory(self) -> str:
        lines = [
            f"memory      of each device at worst, in GB; fixed {self.memory.fixed / GB:.1f}, and"
            " one at a time"
        ]
        for name in ("sampling", "evaluating", "updating"):
            size = getattr(self.memory, name)
            lines.append(
                "           "
                f" {name:<11}"
                f"{'unknown without config.json' if size is None else f'{size / GB:.1f}'}"
            )
        verdict = "fits" if self.fits else f"does NOT fit: {self._smaller()}"
        lines.append(
            f"            peak {self.memory.peak / GB:.1f} of {self.given.device_gb:.0f}: {verdict}"
        )
        return "\n".join(lines)

    def _smaller(self) -> str:
        """What to change, of each part that alone is too large beside what is fixed."""
        room = self.given.device_gb * GB - self.memory.fixed
        if room <= 0:
            return "the fixed part needs lora, or an engine that shards the model (verl)"
        config, (rows, passes) = self.config, self.shape
        fewer = f"a per_device_train_batch_size below {rows}"
        remedies = {
            "sampling": f"a generation.rows below {config.generation.rows or rows * passes}",
            "evaluating": f"an evaluation.rows below {config.evaluation.rows}",
            "updating": fewer
            if config.gradient_checkpointing
            else f"gradient_checkpointing: true, or {fewer}",
        }
        sizes = {part: getattr(self.memory, part) or 0 for part in remedies}
        return "; ".join(
            f"{part} needs {remedies[part]}" for part, size in sizes.items() if size > room
        )

    def _cost(self) -> str:
        done, hours = self.work, self.hours
        return (
            f"rollouts    {done.rollouts:,}\ntokens      {done.generated:.3g} sampled,"
            f" {done.prefilled:.3g} prompts read for it, {done.trained:.3g} trained,"
            f" {done.scored:.3g} scored, {done.evaluated:.3g} evaluated\ntime       "
            f" {_time(hours.total)} of a device: sampling {_time(hours.generate)}, update"
            f" {_time(hours.update)}, reference {_time(hours.score)}, evaluation"
            f" {_time(hours.evaluate)}\n            about"
            f" {_time(hours.total / self.given.processes)} on {self.given.processes:.0f} of them"
        )

    def _assumed(self) -> str:
        """The machine, and each assumption with where it comes from."""
        lines = [
            f"machine     {self.machine}",
            (
                "assumed     for another, --assume gpu=H100 --assume processes=8; the formulas are"
                " in docs/performance.md"
            ),
        ]
        known = {
            "prompt_tokens": self.found.mean is not None,
            "parameters": self.model.parameters > 0,
        }
        for key, value in asdict(self.given).items():
            if known.get(key):  # measured above, so nothing was assumed
                continue
            lines.append(f"            {key}={value:.4g}  ({self.origins.get(key, 'assumed')})")
        return "\n".join(lines)


def _time(hours: float) -> str:
    """Hours, or the smaller unit that says as much."""
    for size, unit in ((1.0, "h"), (60.0, "min")):
        if hours * size >= 1.0:
            return f"{hours * size:.3g} {unit}"
    return f"{hours * 3600.0:.2g} s"


def dry_run(config: TrainConfig, settings: Sequence[str] = ()) -> DryRun:
    """Check a run and estimate it, on this machine or the one assumed.

    Args:
        settings: `key=number` assumptions, and `gpu=NAME`.

    Raises:
        GDROError: whatever would stop the run, as far as it shows without weights.
    """
    here, machine = this_machine(config.dtype)
    given, origins = assumptions(settings, here)
    faults, shape, model, origin, tokenizer = Faults(), (0, 0), Architecture(0), "", None
    with faults:
        check_free(config.output_dir)
    with faults:
        shape = batch_shape(config, int(given.processes))
    with faults:
        model, origin = model_size(config.model, given.parameters)
        config = config.for_model(model.positions)
        check_context(config, model.positions)
        tokenizer = _tokenizer(config.model)
    with closing(verifier_of(config.verifier, config.data)) as verifier:
        found = fitting_prompts(config, tokenizer, verifier, faults)
    found = replace(found, notes=(*found.notes, *_idle(config, found), *_many_sources(found)))
    mean = given.prompt_tokens if found.mean is None else found.mean
    done = _work(config, len(found.prompts.heldout), mean, given.completion_fraction)
    return DryRun(
        config,
        given,
        origins,
        machine,
        model,
        origin,
        found,
        shape,
        done,
        gpu_hours(done, model.parameters, given, checkpointing=config.gradient_checkpointing),
        _memory_of(config, given, model, shape, found),
    )


def _idle(config: TrainConfig, found: Fitting) -> list[str]:
    """Why the controller has nothing to act on, if so."""
    ids = [prompt.id for prompt in found.prompts.train]
    batch = config.prompts_per_step
    drawn = config.generations * batch
    why = why_idle(controller_of(config), ids, batch, drawn, config.candidates)
    return [] if why is None else [why]


def _many_sources(found: Fitting) -> list[str]:
    """What to know where half of the prompts or more have a source to themselves."""
    prompts = found.prompts.train
    sources = {prompt.source for prompt in prompts}
    if len(sources) <= max(1, len(prompts) / 2):
        return []
    return [
        f"{len(sources):,} sources of {len(prompts):,} prompts, e.g. {prompts[0].source!r}: a"
        " source is what stands before the last / of an id; give ids without one, or"
        " data.id_column: null"
    ]


def _memory_of(
    config: TrainConfig,
    given: Assumptions,
    model: Architecture,
    shape: tuple[int, int],
    found: Fitting,
) -> Memory:
    """Memory of a device at worst; keys and values are none of ours where vLLM has its own."""
    needed = memory(
        model,
        rows_sampled=min(shape[0] * shape[1], config.generation.rows or shape[0] * shape[1]),
        rows_evaluated=config.evaluation.rows,
        rows_updated=shape[0],
        prompt_tokens=found.longest or config.lengths.prompt,
        completion_tokens=config.lengths.completion,
        half=config.dtype == "bfloat16",
        reference=config.beta > 0,
        adapters=config.lora is not None,
        checkpointing=config.gradient_checkpointing,
    )
    if config.generation.backend != "vllm":
        return needed
    taken = round(vllm.share(config) * given.device_gb * GB)
    return replace(needed, fixed=needed.fixed + taken, sampling=0, evaluating=0)


def _tokenizer(name: str) -> Any:
    """The model's tokenizer, or None where there is none to be had; the page then says so."""
    location = locate(name)
    absent = location.kind == "hub" or (
        location.kind == "folder"
        and not any((Path(location.path) / file).is_file() for file in TOKENIZER_FILES)
    )
    try:
        return load_tokenizer(location)
    except ModelError:
        if absent:
            return None
        raise


def _work(config: TrainConfig, heldout: int, prompt_tokens: float, fraction: float) -> Work:
    every = config.eval_steps
    evaluations = 1 + (-(-config.max_steps // every) if every else 1)
    # TRL reads the rollouts once more before the update: to know the policy that sampled them.
    corrects = vllm.trl_arguments(config).get("vllm_importance_sampling_correction", False)
    return work(
        steps=config.generations,
        prompts=config.prompts_per_step,
        mean_rollouts=config.num_generations,
        iterations=config.num_iterations,
        forward_passes=(config.beta > 0) + (config.num_iterations > 1 or corrects),
        prompt_tokens=prompt_tokens,
        completion_tokens=fraction * config.lengths.completion,
        evaluation_completions=evaluations * heldout * config.evaluation.num_generations,
    )
