"""A loss on groups of rollouts (`gdro.objectives.batchwise`) in the place of TRL's.

The optimiser batch is a window of micro-batches on every process, and a prompt's rollouts may lie
in any of them. Before the first micro-batch of a window the values of all its rollouts are had
without a graph and gathered; what the loss's gradient makes of them is stored in the buffered
micro-batches, and each of these then differentiates its own rollouts alone.

The values cost no forward pass while the policy is still the one that sampled, if TRL has kept the
old log-probabilities or the loss reads ratios alone. A window of one micro-batch on one process is
differentiated directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gdro.core.errors import OptionError
from gdro.engines.trl.batch import Inputs
from gdro.engines.trl.dropping import drop_rows, most_of_all
from gdro.objectives.batchwise import GroupObjective, coefficients, linear_loss

if TYPE_CHECKING:
    from gdro.engines.trl.config import GDROConfig
    from gdro.engines.trl.trainer import GDROTrainer

GROUP, REWARD, WEIGHT = "gdro_group", "gdro_reward", "gdro_weight"
"""Columns of a micro-batch: place of the prompt, reward, the controller's weight."""
COEFFICIENTS, LOSS = "gdro_coefficients", "gdro_loss"
"""What a window's first micro-batch finds out: (R, V, 1) dLoss / dvalues; the logged loss."""


class GroupLoss:
    """The passes of a group objective through a trainer.

    Raises:
        OptionError: one of the trainer's options cannot be kept with such a loss.
    """

    def __init__(self, trainer: GDROTrainer, objective: GroupObjective) -> None:
        self.trainer, self.objective = trainer, objective
        if trainer.aux_loss_enabled:
            raise OptionError(
                f"objective={trainer.args.objective!r} does not go with a router's auxiliary loss"
            )

    def loss(self, model: Any, inputs: Inputs) -> torch.Tensor:
        """The loss of a micro-batch. Its gradients add up, over the window and the mean over
        processes, to that of the whole batch.

        Raises:
            ObjectiveError: log-probabilities that are NaN or infinite; names the prompt.
        """
        trainer, window = self.trainer, self._window()
        on_policy = trainer._step % trainer.generate_every < len(window)
        if on_policy and len(window) == 1 and trainer.accelerator.num_processes == 1:
            return self._direct(model, inputs)
        if trainer._step % len(window) == 0:
            self._compare(model, window, on_policy)
        inputs = trainer.update.begin(inputs)
        logps, old, mask = self._logps(model, inputs)
        values = self.objective.values(logps, logps.detach() if old is None else old, mask)
        part = (
            linear_loss(inputs[COEFFICIENTS][:, :, 0], values) * trainer.accelerator.num_processes
        )
        # The gradient is the part's; the number that is logged is the true loss.
        logged: torch.Tensor = part + (inputs[LOSS] - part.detach())
        return logged

    def _compare(self, model: Any, window: list[Inputs], on_policy: bool) -> None:
        """At the start of a window: the coefficients of all its rollouts, into its
        micro-batches."""
        trainer = self.trainer
        reward, group, weight = (
            self._gathered(torch.cat([inputs[name] for inputs in window]))
            for name in (REWARD, GROUP, WEIGHT)
        )
        reward = torch.nan_to_num(reward)  # an unscored rollout counts as one without tokens
        matters = self.objective.matters(reward, group, on_policy)
        first = trainer.accelerator.process_index * (
            len(matters) // trainer.accelerator.num_processes
        )
        values, place = [], first
        for inputs in window:
            rows = slice(place, place + len(inputs[GROUP]))
            values.append(self._values(model, inputs, matters[rows], on_policy))
            place = rows.stop
        found = coefficients(
            self.objective,
            self._gathered(torch.cat(values)),
            reward,
            group,
            weight=weight,
            names=trainer.update.ledger.prompt_ids,
        )
        self._log(found.loss, found.metrics)
        place = first
        for inputs in window:
            rows = slice(place, place + len(inputs[GROUP]))
            place = rows.stop
            device = inputs[REWARD].device
            inputs[COEFFICIENTS] = found.each[rows, :, None].to(device)  # 3-D: no columns of tokens
            inputs["advantages"] = found.has_gradient[rows].float().to(device)
            inputs[LOSS] = torch.tensor(found.loss / len(window), device=device)

    def _direct(self, model: Any, inputs: Inputs) -> torch.Tensor:
        """The loss of a whole batch in one micro-batch, from one pass with a graph."""
        reward, group = torch.nan_to_num(inputs[REWARD].double()), inputs[GROUP]
        keep = self.objective.matters(reward, group, True).nonzero()[:, 0]
        if not len(keep):
            keep = torch.zeros(1, dtype=torch.int64, device=reward.device)
        kept = drop_rows(inputs, keep, "dapo")
        self.trainer.update.count(kept)
        logps, old, mask = self._logps(model, kept)
        own = self.objective.values(logps, logps.detach() if old is None else old, mask)
        # The others' values are constants: no ratio has moved, and no score of theirs is compared.
        nothing = torch.zeros_like(inputs["completion_mask"], dtype=own.dtype)
        rest = self.objective.values(nothing, nothing, _scored_mask(inputs))
        values = rest.index_copy(0, keep, own)
        weight, names = inputs[WEIGHT].double(), self.trainer.update.ledger.prompt_ids
        result = self.objective.loss(values, reward, group, weight=weight, names=names)
        self._log(float(result.loss.detach()), result.metrics)
        return result.loss

    def _values(
        self, model: Any, inputs: Inputs, matters: torch.Tensor, on_policy: bool
    ) -> torch.Tensor:
        """(R, V) values of a micro-batch without a graph."""
        old, mask = inputs.get("old_per_token_logps"), _scored_mask(inputs)
        nothing = torch.zeros(mask.shape, device=mask.device)
        if on_policy and old is not None:
            return self.objective.values(old, old, mask)
        values = self.objective.values(nothing, nothing, mask)
        keep = matters.nonzero()[:, 0].to(mask.device)
        if on_policy and not self.objective.reads_level:
            return values
        most = most_of_all(self.trainer.accelerator, len(keep), mask.device)
        if most == 0:
            return values
        spare = (~matters).nonzero()[:, 0].to(mask.device)[: most - len(keep)]
        keep = torch.cat([keep, spare]).sort().values
        training = self.trainer.model.training
        self.trainer.model.eval()  # values are those of the policy, without dropout
        try:
            with torch.no_grad():
                part = drop_rows(inputs, keep, "dapo")
                logps, old, own_mask = self._logps(model, part)
                own = self.objective.values(logps, logps if old is None else old, own_mask)
        finally:
            self.trainer.model.train(training)
        return values.to(own).index_copy(0, keep, own)

    def _logps(
        self, model: Any, inputs: Inputs
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """(R, T) log-probabilities, those of the sampling policy if kept, and the mask."""
        mask = _scored_mask(inputs)
        logps = self.trainer.update.read(model, inputs, mask)
        return logps, inputs.get("old_per_token_logps"), mask

    def _window(self) -> list[Inputs]:
        """The buffered micro-batches of the window that the next one belongs to."""
        trainer = self.trainer
        size = int(trainer.args.gradient_accumulation_steps)
        place = trainer._step % int(trainer.args.steps_per_generation)
        start = place - place % size
        buffered: list[Inputs] = trainer._buffered_inputs
        return buffered[start : start + size]

    def _gathered(self, local: torch.Tensor) -> torch.Tensor:
        """All processes' rows, in double precision on the CPU: the same bits in every process."""
        everywhere: torch.Tensor = self.trainer.accelerator.gather(local.contiguous())
        wide = everywhere.cpu()
        return wide.double() if wide.is_floating_point() else wide

    def _log(self, loss: float, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            if value == value:  # a NaN says that there was nothing to measure; loggers take none
                self.trainer._metrics["train"][f"gdro/objective/{name}"].append(value)


def token_mask(inputs: Inputs) -> torch.Tensor:
    """(R, T) 1 for a token that the policy made."""
    mask: torch.Tensor = inputs["completion_mask"]
    return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask


def _scored_mask(inputs: Inputs) -> torch.Tensor:
    """(R, T) the same, 0 for rollouts that no reward function scored."""
    return token_mask(inputs) * (~torch.isnan(inputs[REWARD]))[:, None]


def check_group_loss(args: GDROConfig) -> None:
    """Refuse settings of TRL's that such a loss has no place for.

    Raises:
        OptionError: names the setting and what to do.
    """
    name = f"objective={args.objective!r}"
    if args.entropy_coef != 0.0 or args.use_adaptive_entropy or args.top_entropy_quantile < 1.0:
        raise OptionError(
            f"{name} has no entropy bonus and uses every token; leave these options out"
        )
    if args.use_liger_kernel:
        raise OptionError(f"{name} needs log-probabilities; set use_liger_kernel=False")
    if args.use_vllm and args.vllm_importance_sampling_correction:
        raise OptionError(
            f"{name} takes no correction; set vllm_importance_sampling_correction=False"
        )
    size, whole = int(args.gradient_accumulation_steps), int(args.steps_per_generation)
    if whole % size != 0:
        raise OptionError(
            f"{name} compares all rollouts of an update: steps_per_generation={whole} must be a "
            f"multiple of gradient_accumulation_steps={size}"
        )
