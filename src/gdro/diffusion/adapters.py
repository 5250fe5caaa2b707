"""The trained part of a run: LoRA adapters on a frozen base, their optimiser, and their average
over steps.

The reference needs no second model: it is the same one with its adapters off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel, cast_training_params
from peft import LoraConfig, get_peft_model_state_dict

from gdro.core.errors import DiffusionError
from gdro.diffusion.config import DiffusionConfig
from gdro.diffusion.families import Family
from gdro.diffusion.flow import generator


class Adapters:
    """LoRA adapters of a family's transformer, and what updates them."""

    def __init__(self, family: Family, config: DiffusionConfig) -> None:
        self.family, self.config = family, config
        model = family.transformer
        model.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(config.seed, 3).initial_seed())
            model.add_adapter(
                LoraConfig(
                    r=config.rank,
                    lora_alpha=config.rank,
                    init_lora_weights="gaussian",
                    target_modules=list(family.lora_targets),
                )
            )
        cast_training_params(model, dtype=torch.float32)
        if config.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        self.named = {name: part for name, part in model.named_parameters() if part.requires_grad}
        self.parameters = list(self.named.values())
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            weight_decay=config.adam_weight_decay,
            eps=config.adam_epsilon,
        )
        self.schedule = get_scheduler(
            config.lr_scheduler,
            optimizer=self.optimizer,
            num_warmup_steps=config.lr_warmup_steps,
            num_training_steps=config.max_train_steps,
        )
        self.average = (
            EMAModel(self.parameters, decay=config.ema_decay) if config.ema_decay else None
        )

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the model is the base."""
        self.family.transformer.disable_adapters()
        try:
            yield
        finally:
            self.family.transformer.enable_adapters()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the adapters are their average over steps, if one is kept."""
        if self.average is None:
            yield
            return
        self.average.store(self.parameters)
        self.average.copy_to(self.parameters)
        try:
            yield
        finally:
            self.average.restore(self.parameters)

    def update(self) -> float:
        """Clip, step and clear; the norm of the gradient before clipping.

        Raises:
            DiffusionError: the gradient is not finite; nothing was changed.
        """
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm))
        if not norm < float("inf"):
            raise DiffusionError(
                f"the gradient is {norm}: the run has blown up. Go back to a checkpoint with a"
                " lower learning_rate or beta, or set clamp"
            )
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.step(self.parameters)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Everything that an exact resume needs."""
        return {
            "adapters": {name: part.detach().cpu().clone() for name, part in self.named.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state in.

        Raises:
            DiffusionError: it is of other adapters.
        """
        if set(state["adapters"]) != set(self.named):
            raise DiffusionError(
                "the checkpoint holds other adapters than this model has; is it another base?"
            )
        with torch.no_grad():
            for name, part in self.named.items():
                part.copy_(state["adapters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
            self.average.to(self.parameters[0].device)  # a checkpoint is read on the CPU

    def save(self, folder: Path) -> None:
        """Write pytorch_lora_weights.safetensors, for `pipeline.load_lora_weights(folder)`."""
        with self.averaged():
            layers = get_peft_model_state_dict(self.family.transformer)
            self.family.pipeline.save_lora_weights(folder, transformer_lora_layers=layers)
