"""One run while it goes: evaluate, train, evaluate, save, report; new or from a checkpoint."""

from __future__ import annotations

import json
import os
import resource
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

import gdro
from gdro.config import TrainConfig, controller_of
from gdro.controllers.controller import Controller
from gdro.core.errors import RunError
from gdro.data.prompts import fingerprint
from gdro.engines.trl import GDROTrainer
from gdro.engines.trl.checkpoint import load_place
from gdro.engines.trl.vllm import Engine, engine_of, telling
from gdro.io import RecordWriter
from gdro.models.loading import plain_folder
from gdro.report.completions import write_completions
from gdro.report.html import write_report
from gdro.runs import checkpoints, evaluation
from gdro.runs.folder import RunFolder
from gdro.runs.hub import push_model
from gdro.runs.machine import code_commit, machine
from gdro.runs.model_card import write_card
from gdro.runs.policy import Policy
from gdro.runs.progress import Progress
from gdro.runs.prompts import RunPrompts
from gdro.runs.record import Event, cut_back, start_of
from gdro.runs.rewards import VerifierReward
from gdro.runs.trainer_args import lora, trainer_args, training_set
from gdro.stopping import on_stop
from gdro.verify import Verifier


class Run:
    """The parts of one run while it goes."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        prompts: RunPrompts,
        policy: Policy,
        verifier: Verifier,
        progress: Progress,
    ) -> None:
        self.config, self.folder, self.prompts = config, folder, prompts
        self.policy, self.verifier, self.progress = policy, verifier, progress
        self.is_main = PartialState().is_main_process
        self.controller: Controller = controller_of(config)
        self.reward = VerifierReward(
            verifier,
            prompts.train,
            None if config.verifier.partial_credit else config.correct_threshold,
            tells_answers=config.generation.rounds == "c_grpo",
        )
        self.started = time.monotonic()
        self.interrupted = False
        self.record: RecordWriter | None = None
        self.base: evaluation.Evaluation | None = None
        self.trainer: GDROTrainer | None = None

    @property
    def steps_spent(self) -> int:
        """Steps done; with `generation.rounds_within_budget`, of all steps as many as the rollouts
        so far are worth."""
        return 0 if self.trainer is None else min(self.trainer.steps_spent, self.config.max_steps)

    def go(self, checkpoint: Path | None) -> RunFolder:
        """Train from the start or from a checkpoint, to the end or an interruption."""
        done = 0 if checkpoint is None else checkpoints.step_of(checkpoint)
        known = self._open_record(checkpoint, done)
        trainer = self.trainer = self._trainer()
        if 0 not in known:
            self.evaluate(0)
        elif self.is_main and self.prompts.heldout:
            self.base = evaluation.load_evaluation(self._evaluation_file(0), self.prompts.heldout)
        with on_stop(self._stop):
            if checkpoint is None or not ended(self.config, checkpoint):
                trainer.train(
                    resume_from_checkpoint=None if checkpoint is None else str(checkpoint)
                )
                done = trainer.state.global_step
            else:  # only what follows the last step is missing; TRL would train one step too many
                trainer._load_from_checkpoint(str(checkpoint))
        self.progress.close()
        if self.interrupted:
            self._stopped(done)
        else:
            self._finish(trainer, done)
        return self.folder

    def evaluate(self, step: int) -> None:
        """Evaluate on the held-out prompts, on the main process; the others wait, or sample with
        it where they share a vLLM."""
        heldout, engine = self.prompts.heldout, self._engine()
        if heldout and engine is not None and engine.collective and not self.is_main:
            evaluation.draw(self.policy, heldout, self.config, engine)
        if self.is_main and heldout:
            result = evaluation.evaluate(
                self.policy, heldout, self.verifier, self.config, self.progress.note, engine
            )
            result.save(self._evaluation_file(step))
            write_completions(self.folder.path, step, result.shown)
            self.base = self.base or result
            fields = evaluation.event(result, self.base)
            self._write("evaluation", step=step, **fields)
            self.progress.evaluation(step, fields)
        PartialState().wait_for_everyone()

    def on_step(self, step: dict[str, Any]) -> None:
        """A step is done: record and show it."""
        self._write("step", **step, verifier=self.reward.new_counts())
        self.progress.example = self.reward.example
        self.progress.step(step, self.steps_spent)

    def on_checkpoint(self, step: int) -> None:
        """A checkpoint is written: seal it."""
        PartialState().wait_for_everyone()
        if self.is_main:
            if self.record is not None:
                self.record.flush_to_disk()
            checkpoints.seal(self._checkpoint(step))
            self._write_checkpoint(step)
            checkpoints.rotate(self.folder.checkpoints, self.config.save_total_limit)

    def _engine(self) -> Engine | None:
        """The vLLM of the trainer with the weights of now, if it generates with one."""
        if self.trainer is None or not self.trainer.use_vllm or not self.prompts.heldout:
            return None
        with telling("vLLM does not take the weights"):
            return engine_of(self.trainer)

    def _trainer(self) -> GDROTrainer:
        if self.config.generation.backend != "vllm":
            return self._new_trainer(self.policy.path)
        path = plain_folder(self.config.model, self.progress.note)
        with telling(f"a trainer with vLLM ({self.config.generation.vllm_mode}) does not start"):
            return self._new_trainer(path)

    def _new_trainer(self, path: str) -> GDROTrainer:
        self.policy.model.name_or_path = path  # where TRL finds a reference model, and vLLM weights
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(self.folder.path / "tensorboard"))
        trainer = _Trainer(
            model=self.policy.model,
            args=trainer_args(self.config, self.folder),
            reward_funcs=self.reward,
            train_dataset=training_set(
                self.prompts.train, self.config.objective.options.get("anchors")
            ),
            processing_class=self.policy.tokenizer,
            controller=self.controller,
            on_step=self.on_step,
            peft_config=lora(self.config),
            callbacks=[_Hooks(self)],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _open_record(self, checkpoint: Path | None, done: int) -> set[int]:
        """Open the record, on the main process; the steps at which it already holds an evaluation,
        on all."""
        kept = self._cut_record(checkpoint, done) if self.is_main else []
        known = {event["step"] for event in kept if event["event"] == "evaluation"}
        return set(broadcast_object_list([known])[0])

    def _cut_record(self, checkpoint: Path | None, done: int) -> list[Event]:
        if (start := start_of(self.folder.record)) is not None:
            self._check_data(start)
        if (text := self.config.to_yaml()) != self.folder.config.read_text(encoding="utf-8"):
            self.folder.write_config(text)  # it has more steps now
        kept = cut_back(self.folder.record, done)
        self.folder.report.unlink(missing_ok=True)  # of an earlier end
        self.record = RecordWriter(self.folder.record)
        if not any(event["event"] == "start" for event in kept):
            self._write("start", **self._start())
        if checkpoint is not None:
            if not any(event["event"] == "checkpoint" and event["step"] == done for event in kept):
                self._write_checkpoint(done)
            self._write("resume", step=done, time=_now(), max_steps=self.config.max_steps)
        return kept

    def _check_data(self, start: Event) -> None:
        """The prompts are those that the run began with, in their order."""
        for what, prompts in (("training", self.prompts.train), ("held-out", self.prompts.heldout)):
            now = fingerprint(prompts)
            if start.get("fingerprints", {}).get(what, now) != now:
                count = start["train_prompts" if what == "training" else "heldout_prompts"]
                raise RunError(
                    f"{self.folder.path}: the {what} prompts are not those that the run began with"
                    f" ({count} then, {len(prompts)} now; their texts, answers, ids and order"
                    " count). Put the data back to go on, or start a new run"
                )

    def _start(self) -> dict[str, Any]:
        return {
            "time": _now(),
            "version": gdro.__version__,
            "commit": code_commit(),
            "config": json.loads(self.config.model_dump_json()),
            "bins": self.controller.bins,
            "edges": self.controller.edges.tolist(),
            "machine": machine(),
            "train_prompts": len(self.prompts.train),
            "heldout_prompts": len(self.prompts.heldout),
            "fingerprints": {
                "training": fingerprint(self.prompts.train),
                "held-out": fingerprint(self.prompts.heldout),
            },
            "data": self.prompts.counts,
        }

    def _finish(self, trainer: GDROTrainer, step: int) -> None:
        every = self.config.eval_steps
        if every is None or self.config.max_steps % every:
            self.evaluate(step)
        trainer.save_model(str(self.folder.model))
        if not self.is_main:
            return
        # a pickle, and nobody's business
        (self.folder.model / "training_args.bin").unlink(missing_ok=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = round(time.monotonic() - self.started, 3)
        self._write("end", step=step, seconds=seconds, peak_memory_mb=round(peak, 1))
        self._close_record()
        write_report(self.folder.path)
        write_card(self.folder)
        self.progress.note(f"model: {self.folder.model}")
        self.progress.note(f"report: {self.folder.report}")
        push_model(self.config, self.folder.model, self.progress.note)

    def _stopped(self, step: int) -> None:
        self._close_record()
        self.progress.note(
            f"stopped after step {step}; nothing is lost. Go on with: gdro train --resume"
            f" {self.folder.path}"
        )

    def _checkpoint(self, step: int) -> Path:
        return self.folder.checkpoints / f"{checkpoints.PREFIX}{step}"

    def _write_checkpoint(self, step: int) -> None:
        self._write(
            "checkpoint", step=step, path=str(self._checkpoint(step).relative_to(self.folder.path))
        )

    def _evaluation_file(self, step: int) -> Path:
        return self.folder.evaluations / f"step-{step:06d}.jsonl"

    def _write(self, event: str, **fields: Any) -> None:
        if self.record is not None:
            self.record.write(event, **fields)

    def _close_record(self) -> None:
        if self.record is not None:
            self.record.close()
            self.record = None

    def _stop(self) -> None:
        """First Ctrl-C or SIGTERM: finish the step, write a checkpoint, stop. A second one: stop at
        once."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self.progress.note("stopping after this step, with a checkpoint; once more to stop at once")


class _Trainer(GDROTrainer):
    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: TRL's, at each checkpoint, says nothing that the run's own at the end does not."""


class _Hooks(TrainerCallback):  # type: ignore[misc]
    """The trainer's call-backs, handed to the run. Nothing is kept from step to step: a resume has
    none to restore."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.before = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The learning rate that the schedule has here: a run that was extended left off with
        another schedule's."""
        optimizer, schedule = kwargs["optimizer"], kwargs["lr_scheduler"]
        rates = [
            base * course(schedule.last_epoch)
            for base, course in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
        ]
        schedule._last_lr = rates
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.before = self.run.steps_spent

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        every = self.run.config.eval_steps
        if every and self.run.steps_spent // every > self.before // every:
            self.run.evaluate(state.global_step)
        if any(gather_object([self.run.interrupted])):
            self.run.interrupted = True
            control.should_save = True
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Empty TRL's own history: metrics.jsonl holds it, and in each checkpoint it would grow
        with every step."""
        state.log_history.clear()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.run.on_checkpoint(state.global_step)


def ended(config: TrainConfig, checkpoint: Path) -> bool:
    """Whether the checkpoint is that of the last step."""
    if not config.generation.rounds_within_budget:
        return checkpoints.step_of(checkpoint) >= config.max_steps
    place = load_place(checkpoint)
    return place.rollouts_total >= config.max_steps * config.step_rollouts


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
