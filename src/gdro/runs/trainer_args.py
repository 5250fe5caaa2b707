"""A run's settings as the arguments of the TRL engine, and its prompts as the engine's data set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import PartialState
from datasets import Dataset
from peft import LoraConfig

from gdro.controllers.controller import Controller
from gdro.controllers.registry import make_controller
from gdro.data.prompts import Prompt
from gdro.engines.trl import GDROConfig
from gdro.runs.batch_shape import batch_shape
from gdro.runs.config import TrainConfig
from gdro.runs.folder import RunFolder


def trainer_args(config: TrainConfig, folder: RunFolder) -> GDROConfig:
    """Arguments of `GDROTrainer`.

    Raises:
        RunError: the rollouts of a step cannot be split evenly over processes and micro-batches.
    """
    update, sampling = config.optimisation, config.generation
    rows, accumulation = batch_shape(config, PartialState().num_processes)
    on_gpu = torch.cuda.is_available()
    return GDROConfig(
        output_dir=str(folder.checkpoints),
        seed=config.seed,
        max_steps=config.steps,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=accumulation,
        num_generations=config.mean_rollouts,
        candidates=config.candidates,
        rounds=sampling.rounds,
        rounds_within_budget=sampling.rounds_within_budget,
        num_iterations=update.num_iterations,
        learning_rate=update.learning_rate,
        lr_scheduler_type="constant_with_warmup" if update.schedule == "constant" else update.schedule,
        warmup_steps=update.warmup,
        weight_decay=update.weight_decay,
        max_grad_norm=update.max_grad_norm,
        beta=update.beta_kl,
        epsilon=update.clip_low,
        epsilon_high=update.clip_high,
        loss_type="dapo",
        advantage=update.advantage,
        advantage_ddof=update.advantage_ddof,
        advantage_clip=update.advantage_clip,
        weighting=update.weighting,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_completion_length=sampling.max_completion_tokens,
        chat_template_kwargs=config.data.chat_template_kwargs,
        fast_generation=sampling.fast,
        generation_rows=sampling.rows,
        gradient_checkpointing=update.gradient_checkpointing,
        bf16=config.dtype == "bfloat16",
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        save_strategy="steps",
        save_steps=config.checkpoint.every,
        save_total_limit=None,  # TRL removes by time stamp, before the new one is sealed: see checkpoints.rotate
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=list(config.report_to) or "none",
        run_name=folder.path.name,
        disable_tqdm=True,
        log_completions=False,
    )


def controller_of(config: TrainConfig) -> Controller:
    """The run's controller: what the controller section says, and the run's budget, seed and threshold."""
    return make_controller(config.controller.name, **config.controller_arguments())


def training_set(prompts: Sequence[Prompt]) -> Dataset:
    """The engine's data set: the stable id and the prompt; everything else is looked up by id."""
    return Dataset.from_list(
        [
            {"id": p.id, "prompt": p.messages if isinstance(p.messages, str) else [dict(m) for m in p.messages]}
            for p in prompts
        ]
    )


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
