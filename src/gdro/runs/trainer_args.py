"""A run's settings as the arguments of the TRL engine, and its prompts as the engine's data set."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from peft import LoraConfig, get_peft_model

from gdro.config import TrainConfig
from gdro.core.errors import RunError
from gdro.data.prompts import Prompt
from gdro.engines.trl import GDROConfig
from gdro.runs import vllm
from gdro.runs.folder import RunFolder
from gdro.runs.processes import batch_shape

PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX")}
"""Packages of a tracker, any of which will do, where they are not called as it is."""


def trainer_args(config: TrainConfig, folder: RunFolder) -> GDROConfig:
    """Arguments of `GDROTrainer`.

    Raises:
        RunError: the rollouts of a step cannot be split evenly over processes and micro-batches.
    """
    sampling, schedule = config.generation, config.lr_scheduler_type
    rows, accumulation = batch_shape(config, PartialState().num_processes)
    on_gpu = torch.cuda.is_available()
    return GDROConfig(
        output_dir=str(folder.checkpoints),
        seed=config.seed,
        max_steps=config.max_steps,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=accumulation,
        num_generations=config.num_generations,
        objective=config.objective.name,
        objective_options=config.objective.options,
        candidates=config.candidates,
        rounds=sampling.rounds,
        rounds_within_budget=sampling.rounds_within_budget,
        num_iterations=config.num_iterations,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup" if schedule == "constant" else schedule,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        beta=config.beta,
        epsilon=config.epsilon,
        epsilon_high=config.epsilon_high,
        loss_type="dapo",
        advantage=config.advantage,
        advantage_ddof=config.advantage_ddof,
        advantage_clip=config.advantage_clip,
        weighting=config.weighting,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        max_completion_length=config.lengths.completion,
        chat_template_kwargs=config.data.chat_template_kwargs,
        fast_generation=sampling.backend == "fast",
        generation_rows=None if sampling.backend == "vllm" else sampling.rows,
        gradient_checkpointing=config.gradient_checkpointing,
        bf16=config.dtype == "bfloat16",
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        save_strategy="steps",
        save_steps=config.save_steps,
        # TRL removes by time stamp, before the new one is sealed: see checkpoints.rotate
        save_total_limit=None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=list(config.report_to) or "none",
        run_name=folder.path.name,
        disable_tqdm=True,
        log_completions=False,
        **vllm.trl_arguments(config),
    )


def check_trainer(config: TrainConfig) -> None:
    """Raises RunError when the trainer would refuse the settings on this machine, which it would do
    late: the rollouts cannot be split, or a tracker is not installed."""
    batch_shape(config, PartialState().num_processes)
    for tracker in config.report_to:
        if not any(map(find_spec, PACKAGES.get(tracker, (tracker,)))):
            raise RunError(
                f"report_to: {tracker} is not installed here; pip install {tracker}, or leave it"
                " out"
            )


def training_set(prompts: Sequence[Prompt], anchors: str | None = None) -> Dataset:
    """The engine's data set: the stable id and the prompt; everything else is looked up by id.

    Args:
        anchors: `answer` or a name in the prompts' metadata, for an objective that learns from
            solutions: a further column of that name.
    """
    return Dataset.from_list([_row(prompt, anchors) for prompt in prompts])


def _row(prompt: Prompt, anchors: str | None) -> dict[str, Any]:
    messages = prompt.messages
    row = {
        "id": prompt.id,
        "prompt": messages if isinstance(messages, str) else [dict(turn) for turn in messages],
    }
    if anchors is not None:
        solution = prompt.answer if anchors == "answer" else prompt.metadata.get(anchors)
        row[anchors] = "" if solution is None else str(solution)
    return row


def lora(config: TrainConfig) -> LoraConfig | None:
    """The adapter's settings, or None to train all weights."""
    if config.lora is None:
        return None
    targets = list(config.lora.target_modules)
    return LoraConfig(
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        target_modules=targets[0] if targets == ["all-linear"] else targets,
        task_type="CAUSAL_LM",
    )


def check_lora(config: TrainConfig, model: torch.nn.Module) -> None:
    """Raises RunError when the adapters cannot be made: a module of that name is not there (peft
    passes one over beside others that are), or is none that peft adapts."""
    adapters = lora(config)
    if config.lora is None or adapters is None or adapters.target_modules == "all-linear":
        return
    targets = config.lora.target_modules
    names = [name for name, _ in model.named_modules()]
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in names):
            linear = (n for n, part in model.named_modules() if isinstance(part, torch.nn.Linear))
            known = sorted({name.rpartition(".")[2] for name in linear})
            raise RunError(
                f"lora.target_modules: the model has no module {target!r}; it has"
                f" {', '.join(known)}, and all-linear means all of them"
            )
    with torch.device("meta"):  # without weights: the model itself would keep the adapters
        trial = type(model)(deepcopy(model.config))
    try:
        get_peft_model(trial, adapters)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"lora.target_modules = {list(targets)}: {reason}") from error
