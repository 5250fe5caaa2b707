"""`GDROTrainer`: TRL's `GRPOTrainer` with a controller that sets each prompt's rollouts and weight.

Everything goes through `super()`; nothing of TRL is copied or patched. What is overridden, and why:

- `_generate_and_score_completions`: the controller may choose the prompts among candidates; its plan spreads the same
  total of rollouts unevenly over them, and the advantages are taken by prompt id and weighted;
- `_compute_loss`, `training_step`: the surrogate losses go to a controller that needs them;
- what makes it fast, what a resume needs, what generates in rounds: see `fast_trainer.py`, `resumable.py`, `rounds.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import TrainerCallback

from gdro.core.advantages import flat_advantages
from gdro.core.errors import OptionError
from gdro.core.types import Feedback, Floats, Metrics
from gdro.engines.advantages import check_told
from gdro.engines.interface import Controller
from gdro.engines.trl import checkpoint, records
from gdro.engines.trl.batch import PromptBatch, Row
from gdro.engines.trl.candidates import candidates_of
from gdro.engines.trl.config import GDROConfig, default_controller
from gdro.engines.trl.ids import require_ids
from gdro.engines.trl.losses import LossLedger, SurrogateTerms, mean_losses, surrogate_losses
from gdro.engines.trl.rounds import RoundsTrainer, check_rounds

GROUP = "gdro_group"
ADVANTAGE = "gdro_advantage"


class GDROTrainer(RoundsTrainer):
    """`GRPOTrainer` with group DRO. The arguments are TRL's; `args` is a `GDROConfig`, and there are two more.

    Args:
        controller: any object that meets `gdro.engines.interface.Controller`; by default the one that `args` names.
        on_step: called on the main process with a record of each logged step (every step with `logging_steps=1`),
            after TRL's own log and before a checkpoint of the step.

    Raises:
        PromptIdError: the training set has no column of unique ids.
        OptionError: options that do not go together.
        StateError: on resume, a checkpoint without a whole state of the controller.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: GDROConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *,
        controller: Controller | None = None,
        on_step: Callable[[records.Record], None] | None = None,
        **trl_arguments: Any,
    ) -> None:
        if args is None:
            args = GDROConfig("gdro-output")
        if not isinstance(args, GDROConfig):
            raise OptionError(f"args is a {type(args).__name__}; GDROTrainer takes a GDROConfig (same fields and more)")
        require_ids(train_dataset, args.id_column)
        if isinstance(controller, (str, type)):
            raise OptionError(
                f"controller={controller!r} is no controller yet; give GDROTrainer an object "
                "(gdro.make_controller(...)), or the name to GDROConfig(controller=...)"
            )
        self.controller = default_controller(args) if controller is None else controller
        if self.controller.mean_rollouts != args.num_generations:
            raise OptionError(
                f"the controller plans {self.controller.mean_rollouts} rollouts a prompt on average, "
                f"num_generations is {args.num_generations}; make them equal"
            )
        if self.controller.sets_baselines and args.advantage_kind != "grpo":
            raise OptionError(
                f"advantage={args.advantage_kind!r} does not go with a controller that has its own baseline and "
                "spread; use advantage='grpo' (scale_rewards='group'), or the controller's option baseline='group'"
            )
        check_told(self.controller, args.advantage_kind, args.advantage_ddof)
        self._candidates = candidates_of(
            self.controller,
            train_dataset,
            args.id_column,
            args.candidates,
            args.seed if args.data_seed is None else args.data_seed,
        )
        self.on_step = on_step
        self.place = checkpoint.Place(processes=PartialState().num_processes)
        self.stopwatch = records.Stopwatch()
        self._ledger = LossLedger()
        self._gathered_rewards: torch.Tensor | None = None
        self._forward_logps: torch.Tensor | None = None
        super().__init__(model, reward_funcs, args, train_dataset, eval_dataset, **trl_arguments)
        self._require_full_batch()
        check_rounds(self.args.rounds, self)
        self.add_callback(_Loop(self))

    # --- the plan -----------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[Row]) -> dict[str, Any]:
        """Plan, generate a ragged batch of the same size, observe, and weigh. Evaluation is left to TRL."""
        if not self.model.training:
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
            return output
        rows: list[Row] = gather_object(inputs) if self.accelerator.num_processes > 1 else inputs
        batch = PromptBatch.from_rows(rows, self.args.id_column, self.num_generations)
        if self._candidates is not None:
            batch = self._candidates.choose(batch, number=self.place.rollouts_total // len(rows))
        kept = None
        if self.args.rounds is not None:
            batch, kept = self.in_rounds(self.args.rounds, batch)
        plan = self.controller.plan(batch.ids)
        answered = False
        try:
            groups = batch.ragged(plan, len(rows), even=kept is not None)
            mine = slice(
                self.accelerator.process_index * len(inputs),
                (self.accelerator.process_index + 1) * len(inputs),
            )
            output = super()._generate_and_score_completions([dict(batch.rows[group]) for group in groups[mine]])
            rewards = self._combined_rewards()
            with self._timed("score"):
                feedback = self.controller.observe(batch.ids, batch.split(rewards, plan))
            answered = True
        finally:
            if not answered:
                self.controller.cancel(plan)
        if kept is not None and kept.baselines is not None:
            feedback = replace(feedback, baselines=kept.baselines, deviations=kept.deviations)
        scale = feedback.weights * self._rollout_scale(plan.rollouts)
        self._weigh(output, rewards, groups, mine, scale, feedback)
        self._ledger.start(batch.ids)
        if kept is None:
            self._count(len(rows))
        self._log_controller(self.controller.metrics())
        return output

    def _rollout_scale(self, rollouts: np.ndarray[Any, np.dtype[np.int64]]) -> Floats:
        """(M,) nbar / n_i, or 1 with row weighting."""
        scale: Floats = self.num_generations / rollouts if self.args.weighting == "prompt" else np.ones(len(rollouts))
        return scale

    def _combined_rewards(self) -> Floats:
        """(R,) weighted sum of the rewards over all processes; NaN where no function gave one."""
        stashed, self._gathered_rewards = self._gathered_rewards, None
        assert stashed is not None
        weighted = (stashed * self.reward_weights.to(stashed.device)).nansum(dim=1)
        weighted[torch.isnan(stashed).all(dim=1)] = torch.nan
        rewards: Floats = weighted.double().cpu().numpy()
        return rewards

    def _weigh(
        self, output: dict[str, Any], rewards: Floats, groups: Any, mine: slice, scale: Floats, feedback: Feedback
    ) -> None:
        """Replace TRL's advantages (which assume equal groups) in the batch and in TRL's logs."""
        args = self.args
        by_group = flat_advantages(
            rewards, groups, args.advantage_kind, ddof=args.advantage_ddof, clip=args.advantage_clip
        )
        own = feedback.own_advantages(rewards, groups, args.advantage_clip)
        advantages = by_group if own is None else own
        weighted = torch.from_numpy(advantages * scale[groups]).float()
        device = output["advantages"].device
        output["advantages"] = weighted[mine].to(device)
        if self.controller.needs_losses:
            output[GROUP] = torch.from_numpy(groups[mine]).to(device)
            output[ADVANTAGE] = torch.from_numpy(advantages[mine]).float().to(device)
        logged = self._logs["advantages"]
        for _ in range(min(len(logged), weighted.numel())):
            logged.pop()
        logged.extend(weighted.tolist())
        low, high = np.full(len(scale), np.inf), np.full(len(scale), -np.inf)
        np.minimum.at(low, groups, rewards)
        np.maximum.at(high, groups, rewards)
        self._metrics["train"]["frac_reward_zero_std"][-1] = float((low == high)[groups].mean())

    def _count(self, rollouts: int) -> None:
        self.place.rollouts_total += rollouts
        mean_length = self._metrics["train"]["completions/mean_length"][-1]
        self.place.tokens_total += round(mean_length * rollouts)

    def _log_controller(self, metrics: Metrics) -> None:
        for name, value in records.flatten(metrics).items():
            self._metrics["train"][name].append(value)

    # --- rewards and generation -----------------------------------------------------------------------------------

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """TRL's, kept for the controller: (R, functions) over all processes."""
        with self._timed("score"):
            rewards: torch.Tensor = super()._calculate_rewards(*args, **kwargs)
        self._gathered_rewards = rewards
        return rewards

    def _generate(self, prompts: list[Any]) -> Any:
        with self._timed("generate"):
            return super()._generate(prompts)

    # --- the update -------------------------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """TRL's loss on the rollouts that have a gradient; their surrogate losses go to the ledger."""
        if not self.model.training:
            evaluated: torch.Tensor = super()._compute_loss(model, inputs)
            return evaluated
        if GROUP in inputs:
            self._ledger.count(inputs[GROUP])
        inputs = self._without_dead_rows(inputs)
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        logps, self._forward_logps = self._forward_logps, None
        if GROUP in inputs and logps is not None:
            mask = inputs["completion_mask"]
            losses = surrogate_losses(
                logps,
                inputs.get("old_per_token_logps"),
                inputs.get("ref_per_token_logps"),
                inputs[ADVANTAGE],
                mask * inputs["tool_mask"] if "tool_mask" in inputs else mask,
                SurrogateTerms(self.epsilon_low, self.epsilon_high, self.beta),
            )
            self._ledger.add(inputs[GROUP], losses)
        return loss

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        """The log-probabilities of a training pass are kept for the surrogate losses."""
        result = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if self.controller.needs_losses and torch.is_grad_enabled():
            self._forward_logps = result[0].detach()
        return result

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """TRL's; after the last pass over a generation batch, its losses go to the controller."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if self.controller.needs_losses and self._step % self._generate_every == 0:
            packed = self.accelerator.gather(self._ledger.packed().to(self.accelerator.device)[None])
            self.controller.observe_losses(self._ledger.prompt_ids, mean_losses(packed))
        return loss

    # --- logs -----------------------------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's logs with the seconds of each phase; the record of the step goes to `on_step`."""
        is_step = self.model.training and "loss" in logs
        seconds = self.stopwatch.read() if is_step else {}
        for phase, value in seconds.items():
            self._metrics["train"][f"gdro/seconds/{phase}"].append(value)
        super().log(logs, start_time)
        if is_step and self.on_step is not None and self.accelerator.is_main_process:
            record = records.step_record(
                logs,
                step=self.state.global_step,
                epoch=self.state.epoch,
                rollouts_total=self.place.rollouts_total,
                tokens_total=self.place.tokens_total,
                seconds=seconds,
                controller=self.controller.metrics(),
            )
            self.on_step(record)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        """Add the seconds of a block of training to a phase."""
        start = time.perf_counter()
        yield
        if self.model.training:
            self.stopwatch.add(phase, time.perf_counter() - start)


class _Loop(TrainerCallback):  # type: ignore[misc]
    """Starts the sampler's epoch, times whole steps, ends a run whose rollouts are spent.

    Holds nothing that a checkpoint would need.
    """

    def __init__(self, trainer: GDROTrainer) -> None:
        self.trainer = trainer
        self.began = 0.0

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the epoch's data loader is iterated."""
        self.trainer.start_epoch()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the first pass of a step."""
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the optimizer."""
        self.trainer.stopwatch.add("step", time.perf_counter() - self.began)
        self.trainer.stop_when_spent(control)
