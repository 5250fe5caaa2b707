"""A run's settings as the arguments of the TRL engine, and its prompts as the engine's data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from peft import LoraConfig

from gdro.config import TrainConfig
from gdro.data.prompts import Prompt
from gdro.engines.trl import GDROConfig
from gdro.runs import vllm
from gdro.runs.folder import RunFolder
from gdro.runs.processes import batch_shape


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
