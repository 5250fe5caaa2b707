"""`GDROTrainer`: TRL's `GRPOTrainer` with a controller that sets each prompt's rollouts and weight.

Everything goes through `super()`; nothing of TRL is copied or patched. What is overridden, and why:

- `_generate_and_score_completions`: the controller may choose the prompts among candidates; its
  plan spreads the same total of rollouts unevenly over them, and the advantages are taken by prompt
  id and weighted. Here and not in the sampler: accelerate reads a batch ahead, so a ragged sampler
  would plan one step late and break a resume;
- `_calculate_rewards`, `_generate`, `_generate_single_turn`: rewards are kept for the controller,
  rounds replay what was collected, and the fast sampler may take the place of `generate`;
- `_get_per_token_logps_and_entropies`, `_compute_loss`, `training_step`: the update reads less, an
  objective may take the place of TRL's loss, and surrogate losses go to a controller that needs
  them;
- `_get_train_sampler`, `_save_checkpoint`, `_load_optimizer_and_scheduler`: exact resume.

The trainer owns its helpers: a session (`gdro.engines.session`), prompt ids, the order of its data,
checkpoints, the fast sampler, the fast update and, where asked for, rounds. What becomes of a
generation batch is in `planned.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from trl import GRPOTrainer

from gdro.core.errors import OptionError
from gdro.core.types import Plan
from gdro.engines.answer import Answer
from gdro.engines.interface import Controller
from gdro.engines.trl import records, vllm
from gdro.engines.trl.advantages import Scored, weigh
from gdro.engines.trl.batch import PromptBatch, Row, lengths_of
from gdro.engines.trl.checkpoint import Checkpoints, Place
from gdro.engines.trl.config import GDROConfig
from gdro.engines.trl.fast_path import FastSampler
from gdro.engines.trl.ids import PromptIds
from gdro.engines.trl.like_length import of_like_length
from gdro.engines.trl.loop import EpochSampler, Loop, Order, print_few
from gdro.engines.trl.objective import LossTerms, Objective
from gdro.engines.trl.planned import planned
from gdro.engines.trl.rounds_collector import RoundsCollector
from gdro.engines.trl.setup import check_batch, objective_of, session_of
from gdro.engines.trl.update import Update
from gdro.models.locate import own_model
from gdro.own_code import point_at

CHECKPOINT_PREFIX = "checkpoint"


class GDROTrainer(GRPOTrainer):  # type: ignore[misc]
    """`GRPOTrainer` with group DRO. The arguments are TRL's, and there are three more.

    Args:
        model: as TRL takes it; besides, `"tiny"` and the models of `gdro fetch` by their names.
        args: a `GDROConfig`.
        controller: any object that meets `gdro.engines.interface.Controller`; by default the one
            that `args` names.
        objective: a loss in the place of TRL's; see `compute_objective`.
        on_step: called on the main process with a record of each logged step (every step with
            `logging_steps=1`), after TRL's own log and before a checkpoint of the step.

    Attributes:
        session: the controller's traffic (`gdro.engines.session.ControllerSession`).
        place: where the run stands (`gdro.engines.trl.checkpoint.Place`).

    Raises:
        ModelError: a model of `gdro fetch` that is not on this machine yet.
        PromptIdError: a prompt id that is none, or one that occurs twice.
        OptionError: options that do not go together.
        StateError: on resume, a checkpoint that cannot be gone on from.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: GDROConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        *trl_arguments: Any,
        controller: Controller | None = None,
        objective: Objective | None = None,
        on_step: Callable[[records.Record], None] | None = None,
        **trl_keywords: Any,
    ) -> None:
        if args is None:
            args = GDROConfig("gdro-output")
        if not isinstance(args, GDROConfig):
            raise OptionError(
                f"args is a {type(args).__name__}; GDROTrainer takes a GDROConfig (same fields and"
                " more)"
            )
        self.prompts = PromptIds(train_dataset, args.id_column)
        self.order = Order(self)
        self.session = session_of(args, controller, self.prompts, self.order.rows)
        self.objective, self.on_step = objective, on_step
        self.checkpoints, self.update = Checkpoints(self), Update(self)
        self.stopwatch = records.Stopwatch()
        self.rounds: RoundsCollector | None = None
        self._rewards_RK: torch.Tensor | None = None
        self._lengths: list[int] = []
        data = (self.prompts.dataset, eval_dataset)
        model = own_model(model)
        super().__init__(model, reward_funcs, args, *data, *trl_arguments, **trl_keywords)
        if self.use_vllm:
            vllm.seed_anew(self)
        check_batch(
            self.args, self.controller, self.prompts.all() if self.prompts.can_choose else None
        )
        if args.rounds is not None:
            self.rounds = RoundsCollector(self, args.rounds)
        self.fast_sampler = FastSampler(self)
        self.update.prepare()
        self.row_rules, self.group_loss = objective_of(self)
        # First, so that what the others do at a step's end, such as evaluate, is not in its time.
        self.callback_handler.callbacks.insert(0, Loop(self))
        print_few(self)

    @property
    def controller(self) -> Controller:
        """Who decides."""
        return self.session.controller

    @property
    def place(self) -> Place:
        """Where the run stands."""
        return self.checkpoints.place

    @property
    def text_alone(self) -> bool:
        """Whether nothing but text is read and made: no tools, images, environments, or a rollout
        function of the user's."""
        special = (
            self.tools or self.rollout_func is not None or self.environment_factories is not None
        )
        return not special and not self._is_vlm

    @property
    def generate_every(self) -> int:
        """Forward-backward passes between two generation batches."""
        return int(self.args.steps_per_generation * self.num_iterations)

    @property
    def steps_spent(self) -> int:
        """Steps done; with `rounds_within_budget`, steps of one round that the rollouts so far
        would be."""
        if self.rounds is None or not self.args.rounds_within_budget:
            return int(self.state.global_step)
        return self.rounds.steps_spent

    def why_not_fast(self) -> str | None:
        """Why TRL's own generation is used, or None when the fast sampler is."""
        return self.fast_sampler.why_not

    # --- the batch
    # ---------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[Row]) -> dict[str, Any]:
        """Plan, generate a ragged batch of the same size, observe, and weigh. Evaluation is
        TRL's."""
        if not self.model.training:
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
            return output
        rows: list[Row] = gather_object(inputs) if self.accelerator.num_processes > 1 else inputs
        number = self.place.batches
        try:
            drawn = self.prompts.batch(rows, self.num_generations, number)
            chosen = self.session.choose(dict(zip(drawn.ids, drawn.rows, strict=True)), number)
            batch = PromptBatch(tuple(chosen), tuple(chosen.values()))
            return planned(self, batch, len(inputs), super()._generate_and_score_completions)
        except BaseException as error:
            self.session.abandon()
            point_at(error)
            raise

    def _weigh(
        self, output: dict[str, Any], batch: PromptBatch, scored: Scored, answer: Answer, plan: Plan
    ) -> None:
        """Replace TRL's advantages, which assume equal groups; see `advantages.py`."""
        weigh(self, output, batch, scored, answer, plan)

    def count(self, rollouts: int) -> None:
        """Count rollouts that TRL has just generated, and their tokens."""
        self.place.rollouts_total += rollouts
        mean_length = self._metrics["train"]["completions/mean_length"][-1]
        self.place.tokens_total += round(mean_length * rollouts)

    # --- generation and rewards
    # --------------------------------------------------------------------

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """(R, functions) over all processes: TRL's, kept for the controller, or a replay's."""
        rewards = None if self.rounds is None else self.rounds.rewards()
        if rewards is None:
            with self.timed("score"):
                rewards = super()._calculate_rewards(*args, **kwargs)
        self._rewards_RK = rewards
        return rewards

    def take_rewards(self) -> torch.Tensor:
        """(R, functions) of the generation batch that was just scored, once."""
        rewards, self._rewards_RK = self._rewards_RK, None
        assert rewards is not None, "TRL asks for rewards once a generation batch"
        return rewards

    def take_lengths(self) -> torch.Tensor:
        """(R,) tokens that the model generated in each rollout of the last generation, over all
        processes."""
        lengths = torch.tensor(self._lengths, device=self.accelerator.device)
        gathered: torch.Tensor = self.accelerator.gather(lengths)
        return gathered

    def _generate(self, prompts: list[Any]) -> Any:
        """TRL's, or what rounds have kept."""
        made = None if self.rounds is None else self.rounds.generation()
        if made is None:
            with self.timed("generate"):
                made = super()._generate(prompts)
        self._lengths = lengths_of(completions=made[1], own=made[2])
        return made

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,
        multimodal_fields: Any,
        num_generations: int,
        **kwargs: Any,
    ) -> Any:
        """The fast sampler where it applies, else TRL's; one completion a row in either.

        vLLM's server mode would take every `num_generations`-th prompt for a group, so a training
        batch presents groups of one.
        """
        if self.why_not_fast() is None and images is None and not multimodal_fields:
            return self.fast_sampler.sample(prompt_ids), None
        ragged = 1 if self.model.training else num_generations
        generate = super()._generate_single_turn
        if not self.use_vllm:
            return generate(prompt_ids, images, multimodal_fields, ragged, **kwargs)
        with vllm.telling(f"vLLM ({self.args.vllm_mode}) failed at step {self.state.global_step}"):
            return generate(prompt_ids, images, multimodal_fields, ragged, **kwargs)

    # --- the update
    # --------------------------------------------------------------------------------

    _buffered_inputs: Any  # TRL's

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """TRL's; with `packing` a new generation batch is dealt to micro-batches by length, where
        no loss can tell."""
        known = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if not self.model.training or not self.update.deals or self._buffered_inputs is known:
            return inputs
        window = int(self.args.gradient_accumulation_steps)
        self._buffered_inputs = of_like_length(self._buffered_inputs, window, self.loss_type)
        return self._buffered_inputs[self._step % int(self.args.steps_per_generation)]

    def compute_objective(self, terms: LossTerms) -> torch.Tensor:
        """The loss of a micro-batch in the place of TRL's, when the trainer has an `objective`.

        Override it, or give `objective`. It is called once a pass, in training only.
        """
        assert self.objective is not None
        return self.objective(terms)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The loss on the rollouts that have a gradient; evaluation is TRL's."""
        if not self.model.training:
            evaluated: torch.Tensor = super()._compute_loss(model, inputs)
            return evaluated
        if self.group_loss is not None:
            return self.group_loss.loss(model, inputs)
        short = self.update.begin(inputs)
        if self.objective is not None:
            loss = self.compute_objective(self.update.terms(model, short))
        else:
            loss = super()._compute_loss(model, short)
        self.update.end(short)
        return loss if self.row_rules is None else self.row_rules.with_anchors(loss, model, inputs)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """TRL's, or the same from less padding."""
        base = super()._get_per_token_logps_and_entropies
        whole = batch_size is None or batch_size >= len(input_ids)
        read = (model, input_ids, attention_mask, logits_to_keep)
        if self.update.pads_less and whole and kwargs.get("pixel_values") is None:
            result: Any = self.update.logps(*read, base, kwargs)
        else:
            result = base(*read, batch_size, **kwargs)
        self.update.keep(result[0])
        return result

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """TRL's; after the last pass over a generation batch, its losses go to the controller."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if self.controller.needs_losses and self._step % self.generate_every == 0:
            self.session.observe_losses(self.update.losses())
        return loss

    # --- the loop
    # ----------------------------------------------------------------------------------

    def _set_signature_columns_if_needed(self) -> None:
        """TRL's, and the id column, so that `remove_unused_columns=True` leaves it."""
        super()._set_signature_columns_if_needed()
        columns: list[str] = self._signature_columns
        if self.args.id_column not in columns:
            columns.append(self.args.id_column)

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        """TRL's order of prompts, epoch by epoch."""
        return self.order.sampler(self.train_dataset if dataset is None else dataset)

    def _init_training_state(
        self,
        max_steps: int,
        steps: int,
        epochs: int,
        resume_from_checkpoint: str | None,
        trial: Any,
    ) -> tuple[int, int]:
        """Where the data loader starts; of a stream, the checkpoint says which pass it is in."""
        start: tuple[int, int] = super()._init_training_state(
            max_steps, steps, epochs, resume_from_checkpoint, trial
        )
        if (
            resume_from_checkpoint is None
            or self.prompts.kind == "environment"
            or self.prompts.can_choose
        ):
            return start
        return self.checkpoints.stream_place(Path(resume_from_checkpoint))

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """TRL's; with `rounds_within_budget` its course follows the rollouts spent."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if self.rounds is not None and self.args.rounds_within_budget:
            return self.rounds.follow(scheduler)
        return scheduler

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The session's state first, so that a checkpoint which TRL finished writing is whole."""
        name = f"{CHECKPOINT_PREFIX}-{self.state.global_step}"
        self.checkpoints.save(Path(self._get_output_dir(trial=trial)) / name)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint_folder: str | None) -> None:
        """TRL's, then the session's state and the place in the generation batch."""
        super()._load_optimizer_and_scheduler(checkpoint_folder)
        if checkpoint_folder is not None:
            self.checkpoints.load(Path(checkpoint_folder))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's logs with the seconds of each phase; the record of the step goes to `on_step`."""
        is_step = self.model.training and "loss" in logs
        seconds = self.stopwatch.read() if is_step else {}
        trained = self.update.trained_tokens() if is_step else 0
        for phase, value in seconds.items():
            self._metrics["train"][f"gdro/seconds/{phase}"].append(value)
        super().log(logs, start_time)
        if is_step and self.on_step is not None and self.accelerator.is_main_process:
            metrics, choice = self.controller.metrics(), self.session.choice
            record = records.step_record(
                logs, self.state, self.place, seconds, trained, metrics, choice
            )
            self.on_step(record)

    def timed(self, phase: str) -> AbstractContextManager[None]:
        """Add the seconds of a block of training to a phase."""
        return self.stopwatch.timed(phase) if self.model.training else nullcontext()
