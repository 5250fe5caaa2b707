"""A tiny SFT run of two sources, for the tests of `RobustSFTTrainer` in one and two processes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer
from trl import SFTConfig

from gdro.robust import GroupConditionalDRO, GroupDRO, RobustMethod, RobustSFTTrainer
from gdro.tiny import base_path
from pretrain import new_model

SOURCES = ("counting", "letters")


def data(count: int = 24) -> Dataset:
    """Texts of unequal length, three of `counting` to one of `letters`."""
    rows = []
    for n in range(count):
        source = SOURCES[n % 4 == 3]
        text = (
            " ".join(str(n + k) for k in range(2 + n % 5))
            if source == "counting"
            else "ab" * (3 + n % 3)
        )
        rows.append({"text": text, "source": source, "id": f"{source}/{n}"})
    return Dataset.from_list(rows)


def model() -> Any:
    return new_model(tokenizer(), hidden=64, intermediate=64, layers=1, seed=0)


def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(base_path())


def settings(folder: str | Path, **changes: Any) -> SFTConfig:
    plain: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "max_steps": 6,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "bf16": False,
        "max_length": 64,
        "seed": 3,
    }
    return SFTConfig(**{**plain, **changes})


def methods(name: str) -> RobustMethod:
    return GroupDRO(SOURCES, eta=1.0) if name == "group_dro" else GroupConditionalDRO(SOURCES)


def trainer(
    folder: str | Path, method: RobustMethod, weights_from: str = "this_step", **changes: Any
) -> Any:
    extra = {
        key: changes.pop(key)
        for key in ("eval_dataset", "reference_model", "even_groups")
        if key in changes
    }
    return RobustSFTTrainer(
        model=model(),
        args=settings(folder, **changes),
        train_dataset=data(),
        processing_class=tokenizer(),
        method=method,
        id_column="id",
        weights_from=weights_from,
        **extra,
    )


def vector(trained: Any) -> torch.Tensor:
    """All parameters of a trained model."""
    return torch.cat(
        [p.detach().flatten() for p in trained.accelerator.unwrap_model(trained.model).parameters()]
    )


CASES = (("group_dro", "this_step"), ("gc_dro", "last_step"))

if __name__ == "__main__":  # under torchrun: one of two processes
    folder = sys.argv[1]
    for name, weights_from in CASES:
        cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
        run = trainer(folder, methods(name), weights_from, **cut)
        run.train()
        if run.is_world_process_zero():
            torch.save(vector(run), Path(folder) / f"{name}-{weights_from}.pt")
