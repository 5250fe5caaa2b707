"""TRL's SFTTrainer with sources as groups: the worst source's quality in the place of the
average's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer
from trl.trainer.utils import add_fused_lm_head

from gdro.robust.base import RobustMethod
from gdro.robust.batch import RobustError
from gdro.robust.domain_weights import excess_losses
from gdro.robust.group_methods import DoReMi
from gdro.robust.steps import WeightsFrom
from gdro.robust.trainer_base import RobustSteps


class RobustSFTTrainer(RobustSteps, SFTTrainer):  # type: ignore[misc]
    """`trl.SFTTrainer` whose loss is weighted by a robust method, by samples.

    A sample's loss is the mean over the tokens that are trained on, a group's the mean over its
    tokens, and the loss of a step sum over tokens of w_i times the token's loss, divided by all
    tokens of the step, all passes and processes; with weights of one it is SFTTrainer's own loss to
    the bit. Gradient accumulation equals one large batch. Every argument of SFTTrainer is taken, by
    name.

    Packed and padding-free batches are refused: packing drops the columns, and a packed row mixes
    samples.

    Args:
        method: from `gdro.robust`.
        args: TRL's config.
        group_column: column of the data set with each sample's source.
        id_column: column with each sample's id, unique; needed by methods that remember samples.
        weights_from: see `StepWeights`; matters with gradient accumulation.
        even_groups: draw sources evenly, or by these weights (`read_domain_weights`); None: as the
            method wants it.
        reference_model: a frozen model of the same tokenizer. The method then sees the excess loss
            max(loss - reference loss, 0) token by token, as DoReMi asks; the loss to train on stays
            the model's own.

    Raises:
        GroupError, SampleIdError: the data set lacks a column, or has a source or a repeated id
            that cannot be.
        RobustError: a setting that has no weighted form.
    """

    def __init__(
        self,
        *,
        method: RobustMethod,
        args: SFTConfig,
        group_column: str = "source",
        id_column: str | None = None,
        weights_from: WeightsFrom = "this_step",
        even_groups: bool | Mapping[str, float] | None = None,
        reference_model: Any = None,
        **kwargs: Any,
    ) -> None:
        _refuse(args, kwargs, method, reference_model)
        super().__init__(args=args, **kwargs)
        self.reference_model = reference_model
        if reference_model is not None:
            reference_model.to(self.args.device).eval().requires_grad_(False)
            add_fused_lm_head(reference_model)
        self._start_robust(method, group_column, id_column, weights_from, even_groups)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """SFTTrainer's loss and metrics, over log-probabilities that the weights have
        multiplied."""
        tags = self._tags(inputs)
        training = self.model.training

        def weighted(**arguments: Any) -> Any:
            outputs = model(**arguments)
            if arguments.get("fused_lm_head"):
                if training:
                    weights = self._weights(self._of_outputs(outputs, inputs))
                    outputs.log_probs = outputs.log_probs * weights.to(
                        outputs.log_probs.dtype
                    ).unsqueeze(1)
                else:
                    self._note_scores(_token_mean(-outputs.log_probs, outputs.label_mask), tags)
            return outputs

        return super().compute_loss(weighted, inputs, return_outputs, num_items_in_batch)

    def _signal(self, inputs: dict[str, Any]) -> torch.Tensor:
        return self._of_outputs(
            self.model(**{**inputs, "use_cache": False}, fused_lm_head=True), inputs
        )

    def _of_outputs(self, outputs: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """(n,) what the method sees: losses, or excess losses over the reference."""
        tokens = -outputs.log_probs.detach()
        if self.reference_model is not None:
            with torch.no_grad():
                reference = self.reference_model(
                    **{**inputs, "use_cache": False}, fused_lm_head=True
                )
            tokens = excess_losses(tokens, -reference.log_probs)
        return _token_mean(tokens, outputs.label_mask)

    def _sizes(self, inputs: dict[str, Any]) -> torch.Tensor:
        labels: torch.Tensor = inputs["labels"]
        return (labels[:, 1:] != -100).sum(1).float()


def _token_mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(n,) means over the tokens that are trained on; tokens are 0 elsewhere."""
    means: torch.Tensor = tokens.sum(1).float() / mask.sum(1).clamp(min=1)
    return means


def _refuse(
    args: SFTConfig, kwargs: dict[str, Any], method: RobustMethod, reference_model: Any
) -> None:
    """Raise RobustError for what has no weighted form; the message names the setting and what to
    do."""
    if args.packing or args.eval_packing or args.padding_free:
        raise RobustError(
            "packing and padding_free mix samples of several sources in a row: set both to False"
        )
    if (
        args.loss_type != "nll"
        or args.label_smoothing_factor > 0.0
        or kwargs.get("compute_loss_func") is not None
    ):
        raise RobustError(
            "robust weights are for loss_type='nll' without label smoothing or a loss of your own"
        )
    if args.world_size > 1 and not args.average_tokens_across_devices:
        raise RobustError(
            "set average_tokens_across_devices=True: weights have mean one over all processes'"
            " tokens"
        )
    if isinstance(method, DoReMi) and reference_model is None:
        raise RobustError(
            "DoReMi scores sources by their excess over a model: give reference_model, or use"
            " GroupDRO"
        )
