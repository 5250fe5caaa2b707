"""One run from settings to report: sample, score, train, look; or go on where it stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diffusers.utils import logging as diffusers_logging

from gdro import __version__
from gdro.core.errors import DiffusionError
from gdro.diffusion.adapters import Adapters
from gdro.diffusion.config import DiffusionConfig, load_config
from gdro.diffusion.evaluation import evaluate, validation_set
from gdro.diffusion.families import Conditions, Digits, Family, fingerprint
from gdro.diffusion.record import (
    Folder,
    cut_back,
    newest_checkpoint,
    read_record,
    save_checkpoint,
)
from gdro.diffusion.report import write_report
from gdro.diffusion.rewards import Reward, load_reward, score, written_rewards
from gdro.diffusion.store import GroupStore
from gdro.diffusion.trackers import Trackers, check_trackers
from gdro.diffusion.training import Scored, Trainer
from gdro.io import RecordWriter, only_writer, write_atomic
from gdro.own_code import is_own
from gdro.stopping import on_stop

LINE_EVERY = 5.0
"""Seconds between lines of progress."""


def load_family(config: DiffusionConfig, tell: Callable[[str], None]) -> Family:
    """The base of a run, on the GPU if there is one.

    Raises:
        DiffusionError: the base cannot be loaded, with the reason.
    """
    if config.family == "digits":
        return Digits(config, tell)
    from gdro.diffusion.pipelines import load_pipeline  # Flux and SD3 take seconds to import

    return load_pipeline(config)


def start(config: DiffusionConfig) -> Folder:
    """Start a run.

    Raises:
        DiffusionError, OwnCodeError: what stands in the way.
    """
    config.prompt_list  # noqa: B018 - a missing file is told before a folder is made
    check_trackers(config.report_to)
    _check_own_code(config)
    folder = Folder.new(config.output_dir, config.name)
    with only_writer(folder.path, DiffusionError):
        write_atomic(folder.config, config.to_yaml())
        return Run(config, folder).go()


def resume(path: str | Path) -> Folder:
    """Go on with a run from its newest whole checkpoint, as if it had never stopped.

    Raises:
        DiffusionError: it holds no run, is finished, or its base, prompts or reward are other ones
            now.
    """
    folder = Folder.old(path)
    config = load_config(folder.config)
    with only_writer(folder.path, DiffusionError):
        if any(event["event"] == "end" for event in read_record(folder.record)):
            raise DiffusionError(f"{path} is finished; its report is {folder.path / 'report.html'}")
        return Run(config, folder).go()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What training starts from."""

    family: Family
    conditions: Conditions
    data: list[Scored]
    reward: Reward
    judge: Reward | None


class Run:
    """A run while it goes."""

    def __init__(self, config: DiffusionConfig, folder: Folder) -> None:
        self.config, self.folder = config, folder
        self.began = time.monotonic()
        self.stop = False
        self.last_line = 0.0
        diffusers_logging.set_verbosity_error()
        diffusers_logging.disable_progress_bar()

    def go(self) -> Folder:
        """Everything that is left to do."""
        trackers = Trackers(self.config.report_to, self.folder.path, self.config.model_dump())
        try:
            with on_stop(self._on_stop):
                ready = self._prepare()
                if self.stop:
                    self._tell(
                        "stopped before training; go on with: gdro diffusion --resume"
                        f" {self.folder.path}"
                    )
                else:
                    self._train(ready, trackers)
        finally:
            trackers.close()
        return self.folder

    def _prepare(self) -> Prepared:
        """Load the base, sample what is missing, score what is missing.

        Raises:
            DiffusionError: as `resume`; or no prompt has two images of different reward.
        """
        config = self.config
        family = load_family(config, self._tell)
        reward = load_reward(config.reward, config)
        judge = None if config.judge is None else load_reward(config.judge, config)
        base = fingerprint(family.transformer)
        self._check_start({"base": base, "reward": reward.key, "prompts": list(config.prompt_list)})
        conditions = family.encode(config.prompt_list)
        store = GroupStore(Path(config.groups_dir or self.folder.path / "groups"), config, base)
        store.open()
        with store.held():
            sampled = store.sample(family, conditions, config, self._on_prompt)
            data = self._scored(store, reward)
        teaching = [one for one in data if one.teaches]
        counts = {
            "sampled_prompts": sampled,
            "prompts": len(data),
            "prompts_without_two_rewards": len(data) - len(teaching),
            "images": sum(len(one.rewards) for one in data),
            "images_without_reward": int(sum(np.isnan(one.rewards).sum() for one in data)),
            "reward_mean": float(np.nanmean(np.concatenate([one.rewards for one in data]))),
        }
        self._tell("groups: " + _listed(counts))
        if not teaching:
            raise DiffusionError(
                "no prompt has two images of different reward, so there is nothing to learn from"
                f" {config.reward}; look at the images and rewards in {store.folder}"
            )
        self.counts = counts
        return Prepared(family, conditions, teaching, reward, judge)

    def _scored(self, store: GroupStore, reward: Reward) -> list[Scored]:
        known = written_rewards(store, reward)
        data = []
        for row, key in enumerate(store.prompts):
            stored = store.read(key)
            data.append(Scored(stored, row, score(store, stored, reward, known)))
        return data

    def _check_start(self, now: dict[str, Any]) -> None:
        """The base, reward and prompts are those that the run began with; they are written down
        first."""
        before = next(
            (event for event in read_record(self.folder.record) if event["event"] == "start"), None
        )
        if before is None:
            record = RecordWriter(self.folder.record)
            record.write(
                "start",
                version=__version__,
                time=_now(),
                config=self.config.model_dump(mode="json"),
                **now,
            )
            record.close()
            return
        for name, value in now.items():
            if before[name] != value:
                raise DiffusionError(
                    f"{self.folder.path}: the {name} is another one than the run began with"
                    f" ({before[name]!r} then, {value!r} now); put it back, or start a new run"
                )

    def _train(self, ready: Prepared, trackers: Trackers) -> None:
        config, folder = self.config, self.folder
        adapters = Adapters(ready.family, config)
        trainer = Trainer(ready.family, adapters, ready.conditions, ready.data, config)
        found = newest_checkpoint(folder.checkpoints, self._tell)
        done = 0
        if found is not None:
            done, state = found
            adapters.load_state_dict(state)
        events = cut_back(folder.record, done)
        record = RecordWriter(folder.record)
        try:
            if not any(event["event"] == "groups" for event in events):
                record.write("groups", **self.counts)
            else:
                record.write("resume", time=_now(), step=done)
            if not any(event["event"] == "evaluation" and event["step"] == 0 for event in events):
                self._evaluate(0, ready, adapters, record, trackers)
            for step in range(done + 1, config.max_train_steps + 1):
                self._step(step, trainer, record, trackers)
                last = step == config.max_train_steps
                if step % config.validation_steps == 0 or last:
                    self._evaluate(step, ready, adapters, record, trackers)
                if step % config.checkpointing_steps == 0 or last or self.stop:
                    save_checkpoint(
                        folder.checkpoints,
                        step,
                        adapters.state_dict(),
                        config.checkpoints_total_limit,
                    )
                if self.stop and not last:
                    self._tell(
                        f"stopped after step {step}; go on with: gdro diffusion --resume"
                        f" {folder.path}"
                    )
                    return
            adapters.save(folder.path)
            record.write("end", time=_now(), seconds=round(time.monotonic() - self.began, 1))
        finally:
            record.close()
        self._tell(f"adapters: {folder.path / 'pytorch_lora_weights.safetensors'}")
        self._tell(f"report: {write_report(folder.path)}")

    def _step(self, step: int, trainer: Trainer, record: RecordWriter, trackers: Trackers) -> None:
        began = time.monotonic()
        fields = trainer.step(step)
        seconds = time.monotonic() - began
        record.write("step", step=step, **fields, seconds=round(seconds, 4))
        trackers.log({f"train/{name}": value for name, value in fields.items()}, step)
        if time.monotonic() - self.last_line >= LINE_EVERY or step == self.config.max_train_steps:
            self.last_line = time.monotonic()
            left = int(seconds * (self.config.max_train_steps - step))
            self._tell(
                f"step {step}/{self.config.max_train_steps}  loss {fields['loss']:.3f}  rank"
                f" agreement {fields['rank_agreement']:.2f}  winner {fields['winner_err']:.3f}"
                f" (reference {fields['winner_err_ref']:.3f})  left {left // 60}:{left % 60:02d}"
            )

    def _evaluate(
        self,
        step: int,
        ready: Prepared,
        adapters: Adapters,
        record: RecordWriter,
        trackers: Trackers,
    ) -> None:
        with adapters.averaged():
            chosen = validation_set(ready.data, self.config)
            found = evaluate(
                ready.family, ready.conditions, chosen, self.config, ready.reward, ready.judge
            )
        found.save(self.folder.samples(step))
        record.write("evaluation", step=step, **found.fields)
        numbers = {
            name: value for name, value in found.fields.items() if isinstance(value, int | float)
        }
        trackers.log({f"eval/{name}": float(value) for name, value in numbers.items()}, step)
        self._tell(f"evaluation at step {step}: {_listed(numbers)}")

    def _on_prompt(self, done: int, total: int) -> None:
        if self.stop:
            raise KeyboardInterrupt
        if time.monotonic() - self.last_line >= LINE_EVERY or done == total:
            self.last_line = time.monotonic()
            self._tell(f"sampled {done} of {total} prompts")

    def _on_stop(self) -> None:
        """First Ctrl-C or SIGTERM: finish the step, write a checkpoint, stop. A second one: stop at
        once."""
        if self.stop:
            raise KeyboardInterrupt
        self.stop = True
        self._tell("stopping after this step, with a checkpoint; once more to stop at once")

    def _tell(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def _check_own_code(config: DiffusionConfig) -> None:
    """Load a user's functions before anything is made; the built-in ones need the base first."""
    for name in (config.reward, config.judge):
        if name is not None and is_own(name):
            load_reward(name, config)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _listed(values: Mapping[str, float]) -> str:
    """`name 0.123, other 4`."""
    texts = (str(value) if isinstance(value, int) else f"{value:.4g}" for value in values.values())
    return ", ".join(
        f"{name.replace('_', ' ')} {text}" for name, text in zip(values, texts, strict=True)
    )
