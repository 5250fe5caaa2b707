"""A trainer that checks its own gradients: what an update's micro-batches and processes summed up
to, against the objective on all rollouts of the update in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad
from transformers import TrainerCallback
from trl_bench import character_tokenizer, config, has_even_digit, sums, tiny_model

from gdro.engines.trl import GDROTrainer
from gdro.objectives.dagrpo import shaped_ratio
from gdro.objectives.direct_reward import direct_reward_loss
from gdro.objectives.disco import disco_loss

LOSSES = {"disco": disco_loss, "direct_reward": direct_reward_loss}


def never(completions: list[str], **_: Any) -> list[float]:
    """Nothing is right."""
    return [0.0] * len(completions)


def length_score(completions: list[str], **_: Any) -> list[float]:
    """A fine score in [0, 1]."""
    return [min(len(completion) / 6, 1.0) for completion in completions]


class _Check(TrainerCallback):
    def __init__(self, trainer: Checked) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.compare()


class Checked(GDROTrainer):
    """Attributes: errors, relative distance of each update's gradient from the oracle's; losses,
    the oracle's."""

    reward = staticmethod(has_even_digit)

    def __init__(self, folder: Any, **changes: Any) -> None:
        given = {
            name: changes.pop(name)
            for name in ("controller", "peft_config", "train_dataset")
            if name in changes
        }
        settings = {"optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 1.0} | changes
        super().__init__(
            model=tiny_model(),
            reward_funcs=[self.reward, length_score],
            args=config(folder, reward_weights=[1.0, 0.0], **settings),
            processing_class=character_tokenizer(),
            **({"train_dataset": sums()} | given),
        )
        self.errors: list[float] = []
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.window: list[dict[str, Any]] = []
        self.add_callback(_Check(self))

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self.window.append(dict(inputs))
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        return loss

    def everywhere(self, key: str) -> torch.Tensor:
        """A column of the window, over micro-batches and processes, padded to the longest."""
        parts = [
            inputs[key].squeeze(2) if inputs[key].ndim == 3 else inputs[key]
            for inputs in self.window
        ]
        left = key.startswith("prompt")
        if parts[0].ndim == 2:
            width = max(part.shape[1] for part in parts)
            gaps = [width - part.shape[1] for part in parts]
            parts = [
                pad(p, (gap, 0) if left else (0, gap)) for p, gap in zip(parts, gaps, strict=True)
            ]
        own = torch.cat(parts)
        if own.ndim == 2:
            own = self.accelerator.pad_across_processes(own, dim=1, pad_first=left)
        return self.accelerator.gather(own)

    def logps(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(R, T) of all rollouts of the update, and their mask, by plain forward passes."""
        return self.plain(self.everywhere("completion_ids"), self.everywhere("completion_mask"))

    def plain(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        prompts, seen = self.everywhere("prompt_ids"), self.everywhere("prompt_mask")
        whole, attention = torch.cat([prompts, ids], 1), torch.cat([seen, mask], 1)
        places = (attention.cumsum(1) - 1).clamp(min=0)
        logits = self.accelerator.unwrap_model(self.model)(
            input_ids=whole, attention_mask=attention, position_ids=places
        ).logits[:, prompts.shape[1] - 1 : -1]
        return torch.log_softmax(logits, -1).gather(2, ids[:, :, None])[:, :, 0], mask

    def oracle(self) -> torch.Tensor:
        """The loss of the update in one piece."""
        logp, mask = self.logps()
        first = "old_per_token_logps" in self.window[0]
        old = self.everywhere("old_per_token_logps") if first else logp.detach()
        rows = [self.everywhere(name) for name in ("gdro_reward", "gdro_group", "gdro_weight")]
        options = self.args.objective_options or {}
        loss = LOSSES[self.args.objective]
        return loss(logp, old, mask, rows[0].double(), rows[1], weight=rows[2], **options).loss

    def compare(self) -> None:
        """Note how far the gradient lies from the oracle's."""
        parameters = [
            p for p in self.accelerator.unwrap_model(self.model).parameters() if p.requires_grad
        ]
        loss = self.oracle()
        expected = torch.autograd.grad(loss, parameters)
        pairs = list(zip(parameters, expected, strict=True))
        size = torch.stack([g.norm() for g in expected]).norm().item()
        gap = torch.stack([(p.grad - g).norm() for p, g in pairs]).norm().item()
        self.errors.append(gap / max(size, 1e-9))
        self.losses.append(loss.item())
        self.norms.append(size)
        self.window = []


class Anchored(Checked):
    """Nothing is ever right, so that a prompt's gradient is its anchor's."""

    reward = staticmethod(never)

    def oracle(self) -> torch.Tensor:
        logp, mask = self.plain(
            self.everywhere("gdro_anchor_ids"), self.everywhere("gdro_anchor_mask")
        )
        if self.args.objective_options.get("anchor_loss") != "likelihood":
            logp = shaped_ratio(logp)
        gain = logp * mask * self.everywhere("gdro_anchor_advantage")[:, None]
        tokens = (
            self.window[0]["num_items_in_batch"] * len(self.window) / self.args.steps_per_generation
        )
        return -gain.sum() / tokens
