"""What of a micro-batch goes through the model, and what is taken from the pass beside TRL's loss.

Prompts are read once (`shared_prefix.py`) and rollouts without a gradient not at all
(`dropping.py`), with the same loss; surrogate losses go to a ledger for controllers that need them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from accelerate.logging import get_logger

from gdro.core.types import Floats, Ints
from gdro.engines.trl import dropping, fast_path, like_length, shared_prefix
from gdro.engines.trl.batch import Inputs
from gdro.engines.trl.group_loss import GROUP, REWARD, WEIGHT, token_mask
from gdro.engines.trl.losses import LossLedger, SurrogateTerms, mean_losses, surrogate_losses
from gdro.engines.trl.objective import LossTerms
from gdro.objectives.packing import fill_ratio
from gdro.objectives.packing import like_length as bins_of
from gdro.objectives.rows import check_rows

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer

UNWEIGHTED = "gdro_advantage"
"""A column of a generation batch, for surrogate losses and objectives."""

logger = get_logger(__name__)


class Update:
    """The training passes over a generation batch.

    Attributes:
        packs: whether a micro-batch is read in passes of like length.
        deals: whether rollouts are dealt to micro-batches by length.
        drops_dead_rows: whether rollouts with advantage zero are left out.
        shares_prefix: whether a prompt is read once for all its rollouts.
        ledger: surrogate losses so far.
    """

    def __init__(self, trainer: GDROTrainer) -> None:
        self.trainer = trainer
        self.ledger = LossLedger()
        self.drops_dead_rows = self.shares_prefix = self.packs = self.deals = False
        self._logps: torch.Tensor | None = None
        self._trained: list[torch.Tensor] = []

    def prepare(self) -> None:
        """Decide what is exact, once the trainer has its model."""
        trainer = self.trainer
        reason = dropping.why_not_drop(trainer.args, trainer.aux_loss_enabled)
        if trainer.objective is not None and not trainer.objective.zero_advantage_is_dead:
            reason = "the objective uses rollouts of advantage zero"
        if trainer.args.drop_dead_rows and reason is not None:
            logger.info(f"Rollouts without an advantage stay in the training pass: {reason}.")
        self.drops_dead_rows = trainer.args.drop_dead_rows and reason is None
        self.shares_prefix = self._can_share_prefix()
        sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        self.packs = trainer.args.packing and not sharded and not trainer.aux_loss_enabled
        self.deals = trainer.args.packing and not _looks_across_rows(trainer)

    @property
    def notes_losses(self) -> bool:
        """Whether the controller wants each prompt's surrogate loss."""
        return self.trainer.controller.needs_losses

    @property
    def _keeps_logps(self) -> bool:
        return self.notes_losses or self.trainer.row_rules is not None

    def columns(
        self, groups: Ints, unweighted: Floats, rewards: Floats, weights: Floats
    ) -> dict[str, torch.Tensor]:
        """What the passes need of each rollout beside TRL's columns; nothing where nobody asks."""
        grouped = self.trainer.group_loss is not None
        if not self._keeps_logps and self.trainer.objective is None and not grouped:
            return {}
        device = self.trainer.accelerator.device
        return {
            GROUP: torch.from_numpy(groups).to(device),
            UNWEIGHTED: torch.from_numpy(unweighted).float().to(device),
            REWARD: torch.from_numpy(rewards).float().to(device),
        } | ({WEIGHT: torch.from_numpy(weights).to(device)} if grouped else {})

    @property
    def pads_less(self) -> bool:
        """Whether `logps` takes the place of TRL's own forward pass."""
        return self.shares_prefix or self.packs

    def logps(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        completion_columns: int,
        base: Callable[..., Any],
        options: Mapping[str, Any],
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """(R, T) log-probabilities and entropies as TRL computes them, from less padding: prompts
        read once, or several forward passes of like length.

        Args:
            base: TRL's own pass.
            options: its keyword arguments.
        """
        if self.shares_prefix:
            entropy = bool(options.get("compute_entropy"))
            return self._sharing(model, input_ids, attention_mask, completion_columns, entropy)

        def forward(ids: torch.Tensor, mask: torch.Tensor, columns: int) -> Any:
            return base(model, ids, mask, columns, **options)

        lengths = attention_mask.sum(1).cpu().numpy()
        device = attention_mask.device
        wanted = like_length.passes(lengths, device.type)
        bins = bins_of(lengths, dropping.most_of_all(self.trainer.accelerator, wanted, device))
        if torch.is_grad_enabled():
            self.trainer._metrics["train"]["gdro/fill_ratio"].append(fill_ratio(lengths, bins))
        return *like_length.in_batches(
            forward, input_ids, attention_mask, completion_columns, bins
        ), None

    def _sharing(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        completion_columns: int,
        compute_entropy: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        trainer = self.trainer
        packed = shared_prefix.pack(input_ids, attention_mask, completion_columns)
        config = trainer.accelerator.unwrap_model(model).config
        inputs = packed.model_inputs(config._attn_implementation, trainer.model.dtype)
        with trainer.accelerator.autocast():
            output = model(**inputs, fused_lm_head=True)
        entropy = packed.unpack(output.entropy) if compute_entropy else None
        return packed.unpack(output.log_probs), entropy, None

    def keep(self, logps: torch.Tensor) -> None:
        """Keep the log-probabilities of a training pass until its end."""
        if self._keeps_logps and torch.is_grad_enabled():
            self._logps = logps.detach()

    def begin(self, inputs: Inputs) -> Inputs:
        """The rollouts of a micro-batch that have a gradient, where leaving out the others is
        exact.

        Every process keeps as many rows as the fullest one: TRL gathers per-row metrics.
        """
        if self.notes_losses:
            self.ledger.count(inputs[GROUP])
        kept = self._with_gradient(inputs)
        self.count(kept)
        return kept

    def count(self, inputs: Inputs) -> None:
        """Count the tokens of a training pass."""
        self._trained.append(token_mask(inputs).sum())

    def trained_tokens(self) -> int:
        """Completion tokens that went through training passes since the last reading, over all
        processes."""
        mine = torch.stack(self._trained).sum() if self._trained else torch.tensor(0)
        self._trained = []
        mine = mine.to(self.trainer.accelerator.device)
        return int(self.trainer.accelerator.gather(mine[None]).sum())

    def _with_gradient(self, inputs: Inputs) -> Inputs:
        if not self.drops_dead_rows or "pixel_values" in inputs:
            return inputs
        advantages = inputs["advantages"]
        live = max(int((advantages != 0).sum()), 1)
        most = dropping.most_of_all(self.trainer.accelerator, live, advantages.device)
        if most == advantages.numel():
            return inputs
        keep = dropping.rows_to_keep(advantages, most)
        return dropping.drop_rows(inputs, keep, self.trainer.loss_type)

    def end(self, inputs: Inputs) -> None:
        """Look at the pass just made, and note its surrogate losses.

        Raises:
            ObjectiveError: a rollout's log-probability is NaN or infinite under an objective that
                is a row rule; names the prompt.
        """
        logps, self._logps = self._logps, None
        if logps is None:
            return
        trainer, mask = self.trainer, token_mask(inputs)
        if trainer.row_rules is not None:
            columns = {"log-probabilities": torch.where(mask.bool(), logps, 0.0)}
            check_rows(inputs[GROUP], self.ledger.prompt_ids, **columns)
        if not self.notes_losses:
            return
        losses = surrogate_losses(
            logps,
            inputs.get("old_per_token_logps"),
            inputs.get("ref_per_token_logps"),
            inputs[UNWEIGHTED],
            mask,
            SurrogateTerms(trainer.epsilon_low, trainer.epsilon_high, trainer.beta),
            inputs.get("importance_sampling_ratio"),
        )
        self.ledger.add(inputs[GROUP], losses)

    def losses(self) -> Floats:
        """(M,) mean surrogate loss of each prompt over the passes and processes."""
        mine = self.ledger.stacked().to(self.trainer.accelerator.device)
        return mean_losses(self.trainer.accelerator.gather(mine[None]))

    def read(self, model: Any, inputs: Inputs, mask: torch.Tensor) -> torch.Tensor:
        """(R, T) log-probabilities of the completion tokens, from one pass through the model.

        A pass with a graph logs the mean entropy of the tokens of `mask` (R, T), over all
        processes.
        """
        trainer, training = self.trainer, torch.is_grad_enabled()
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        logps, entropies, _ = trainer._get_per_token_logps_and_entropies(
            model, ids, attention, inputs["completion_ids"].size(1), compute_entropy=training
        )
        if training:
            mean = (entropies * mask).sum() / mask.sum().clamp(min=1)
            mean = trainer.accelerator.gather(mean).mean()
            trainer._metrics["train"]["entropy"].append(mean.item())
        found: torch.Tensor = logps
        return found

    def terms(self, model: Any, inputs: Inputs) -> LossTerms:
        """What an objective is given, from one pass through the model."""
        mask, old = token_mask(inputs), inputs.get("old_per_token_logps")
        logps = self.read(model, inputs, mask)
        return LossTerms(
            logps=logps,
            old_logps=logps.detach() if old is None else old,
            ref_logps=inputs.get("ref_per_token_logps"),
            mask=mask,
            advantages=inputs["advantages"],
            unweighted=inputs[UNWEIGHTED],
            rewards=inputs[REWARD],
            groups=inputs[GROUP],
            window=self.trainer.current_gradient_accumulation_steps,
            correction=inputs.get("importance_sampling_ratio"),
        )

    def _can_share_prefix(self) -> bool:
        """On a CPU unless told otherwise; a GPU's attention kernels want no mask of their own."""
        trainer = self.trainer
        wanted = trainer.args.shared_prefix
        if wanted is None:
            wanted = trainer.accelerator.device.type == "cpu"
        model = trainer.accelerator.unwrap_model(trainer.model)
        ordinary = fast_path.why_not_fast(model) is None
        return bool(wanted) and not trainer.aux_loss_enabled and ordinary


def _looks_across_rows(trainer: GDROTrainer) -> bool:
    """Whether a term of the loss is a mean, or a rank, over the tokens of each micro-batch, so that
    it depends on which rollouts share one. What a loss of the user's own does is not known."""
    args = trainer.args
    entropy = args.entropy_coef != 0.0 or args.use_adaptive_entropy
    ranked = args.top_entropy_quantile < 1.0
    return bool(entropy or ranked or trainer.aux_loss_enabled) or trainer.objective is not None
