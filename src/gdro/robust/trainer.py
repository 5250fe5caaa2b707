"""Robust methods inside `transformers.Trainer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import TrainingArguments

from gdro.robust.base import RobustMethod
from gdro.robust.batch import RobustError
from gdro.robust.steps import WeightsFrom
from gdro.robust.trainer_base import RobustSteps


class RobustTrainer(RobustSteps):
    """`transformers.Trainer` whose loss is weighted by a robust method.

    The loss of a step is sum w_i s_i l_i / sum s_i over all its samples, all passes and processes,
    with s_i the labels of a sample (1, or its tokens). Every argument of `Trainer` is taken, by
    name.

    Args:
        method: from `gdro.robust`.
        group_column: column of the data set with each sample's group, a name or a place.
        id_column: column with each sample's id, unique; needed by methods that remember samples.
        weights_from: see `StepWeights`; matters with gradient accumulation.
        even_groups: draw groups evenly, or by these weights (`read_domain_weights`); None: as the
            method wants it.
        sample_losses: (outputs, labels) -> (n,) losses with gradient, for models other than
            classifiers (logits (n, C), labels (n,)) and token models (logits (n, T, C), labels (n,
            T), shifted for causal models).

    Raises:
        GroupError, SampleIdError: the data set lacks a column, or has a group or a repeated id that
            cannot be.
        RobustError: a setting of the Trainer that has no weighted form.
    """

    def __init__(
        self,
        *,
        method: RobustMethod,
        args: TrainingArguments,
        group_column: str = "group",
        id_column: str | None = None,
        weights_from: WeightsFrom = "this_step",
        even_groups: bool | Mapping[str, float] | None = None,
        sample_losses: Callable[[Any, torch.Tensor], torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        if args.label_smoothing_factor > 0.0 or kwargs.get("compute_loss_func") is not None:
            raise RobustError(
                "the loss of each sample comes from sample_losses=..., which may smooth labels"
                " itself"
            )
        super().__init__(args=args, **kwargs)
        self.loss_is_scaled_for_ga = True  # by `_step_size`, over all passes
        self._sample_losses = sample_losses
        self._start_robust(method, group_column, id_column, weights_from, even_groups)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The weighted loss in training; the plain mean in evaluation, whose losses by group are
        kept."""
        tags = self._tags(inputs)
        labels = inputs["labels"]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        losses = self._losses(outputs, labels)
        if self.model.training:
            mass = self._weights(losses) * tags.sizes
            loss = (mass * losses).sum() / self._step_size * self.accelerator.num_processes
        else:
            self._note_scores(losses, tags)
            loss = (tags.sizes * losses).sum() / tags.sizes.sum().clamp(min=1.0)
        return (loss, outputs) if return_outputs else loss

    def _signal(self, inputs: dict[str, Any]) -> torch.Tensor:
        labels = inputs.pop("labels")
        return self._losses(self.model(**inputs), labels)

    def _sizes(self, inputs: dict[str, Any]) -> torch.Tensor:
        labels = inputs["labels"]
        if labels.dim() == 1 or self._sample_losses is not None:
            return torch.ones(len(labels), device=labels.device)
        shifted: torch.Tensor = labels[:, 1:] if self._loss_shifts_labels else labels
        return (shifted != -100).sum(1).float()

    def _losses(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        if self._sample_losses is not None:
            return self._sample_losses(outputs, labels)
        logits = outputs["logits"]
        if (
            labels.is_floating_point()
            or logits.dim() != labels.dim() + 1
            or labels.dim() not in (1, 2)
        ):
            raise RobustError(
                f"no loss is known for logits {tuple(logits.shape)} and labels"
                f" {tuple(labels.shape)} of type {labels.dtype}: give sample_losses=..."
            )
        if labels.dim() == 1:
            return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        if self._loss_shifts_labels:
            logits, labels = logits[:, :-1], labels[:, 1:]
        each = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2).float(), labels, reduction="none"
        )
        return each.sum(1) / (labels != -100).sum(1).clamp(min=1)
