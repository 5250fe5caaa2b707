"""The runs of a comparison as processes of `gdro train`, side by side, one core each.

A run's state is read off its folder, so whatever stopped a comparison, the same command goes on
with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

from gdro.config import TrainConfig, load_config
from gdro.core.errors import RunError
from gdro.io import flat
from gdro.lab.compare_plan import Job
from gdro.runs.folder import RunFolder, held
from gdro.stopping import on_stop

State = Literal["waiting", "interrupted", "busy", "failed", "done"]
Tell = Callable[[str], None]
GDRO = (sys.executable, "-c", "from gdro.cli import main; raise SystemExit(main())")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
POLL = 0.1


@dataclass(frozen=True)
class JobFolder:
    """Where a job's files lie: COMPARE/method/seed-0/ and, beside it, seed-0.yaml, .log, .failed
    and .outcome.json."""

    root: Path
    job: Job

    @property
    def run(self) -> RunFolder:
        """The run's folder, an ordinary one."""
        return RunFolder(self.root / self.job.method / f"seed-{self.job.seed}")

    def beside(self, ending: str) -> Path:
        """A file beside the folder: settings (yaml), output (log), why it failed (failed), what it
        came to (outcome.json)."""
        return self.root / self.job.method / f"seed-{self.job.seed}.{ending}"

    def state(self) -> State:
        """What the files say; a run that left its outcome is done, its folder may be gone."""
        if self.kept or (self.run.report.is_file() and self.run.model.is_dir()):
            return "done"
        if self.beside("failed").is_file():
            return "failed"
        if not self.run.config.is_file():
            return "waiting"
        try:
            with held(self.run):
                return "interrupted"
        except RunError:
            return "busy"

    @property
    def kept(self) -> bool:
        """Whether only the outcome of the run is left."""
        return self.beside("outcome.json").is_file() and not self.run.path.exists()

    @property
    def settings(self) -> Path:
        """The file of the settings that the run was trained with."""
        return self.beside("yaml") if self.kept else self.run.config

    def check(self) -> None:
        """Raises RunError when the run, or the outcome it left, is of other settings than the
        plan's."""
        if self.settings.is_file() or self.kept:
            different = sorted(_differences(load_config(self.settings), self.job.config))
            if different:
                raise RunError(
                    f"{self.run.path} was trained with other settings than the plan's:"
                    f" {', '.join(different)}. Put the plan back, or move the run away"
                )

    def command(self) -> list[str]:
        """Start the run, or go on with it; the settings are written beside it first."""
        if self.run.config.is_file():
            return [*GDRO, "train", "--resume", str(self.run.path)]
        self.run.path.parent.mkdir(parents=True, exist_ok=True)
        self.beside("yaml").write_text(self.job.config.to_yaml(), encoding="utf-8")
        return [*GDRO, "train", str(self.beside("yaml")), "--set", f"output_dir={self.run.path}"]


@dataclass
class _Going:
    """A process and its output."""

    folder: JobFolder
    process: subprocess.Popen[bytes]
    log: TextIO
    began: float


@dataclass
class Pool:
    """Runs jobs, at most `at_once` of them at a time.

    Attributes:
        at_once: processes side by side.
        tell: where to say what happens.
        stopping: whether a signal asked to stop: nothing new starts, and each run stops at a
            checkpoint.
    """

    at_once: int
    tell: Tell
    stopping: bool = False
    _going: list[_Going] = field(default_factory=list)

    def go(self, folders: Sequence[JobFolder]) -> None:
        """Run them all, in their order; returns when all have ended, well or not."""
        try:
            with on_stop(self._stop):
                self._go_through(list(folders))
        finally:
            for going in self._going:  # only when something went wrong here
                going.process.terminate()

    def _go_through(self, queue: list[JobFolder]) -> None:
        total = len(queue)
        while self._going or (queue and not self.stopping):
            while queue and len(self._going) < self.at_once and not self.stopping:
                self._start(queue.pop(0))
            time.sleep(POLL)
            for going in [going for going in self._going if going.process.poll() is not None]:
                self._going.remove(going)
                left = len(queue) + len(self._going)
                self.tell(f"{self._ended(going)}; {total - left} of {total}")

    def _start(self, folder: JobFolder) -> None:
        verb = "goes on" if folder.run.config.is_file() else "starts"
        command = folder.command()
        log = folder.beside("log").open("a", encoding="utf-8")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | dict.fromkeys(THREADS, "1") | {"TOKENIZERS_PARALLELISM": "false"},
            start_new_session=True,  # Ctrl-C reaches the runs once, from here
        )
        self._going.append(_Going(folder, process, log, time.monotonic()))
        self.tell(f"{folder.job.title}: {verb}")

    def _ended(self, going: _Going) -> str:
        """Say how a run ended; a failure is marked, so that it is not tried again unasked."""
        going.log.close()
        code, folder = going.process.returncode, going.folder
        title, seconds = folder.job.title, time.monotonic() - going.began
        if folder.state() == "done":
            return f"{title}: done in {seconds:.0f} s"
        if code > 0:
            why = _last_line(folder.beside("log"))
            folder.beside("failed").write_text(f"exit status {code}: {why}\n", encoding="utf-8")
            return f"{title}: failed ({why}), see {folder.beside('log')}"
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else "stopped"
        return f"{title}: {how}; `gdro compare FOLDER` goes on with it"

    def _stop(self) -> None:
        """First Ctrl-C or SIGTERM: every run stops at a checkpoint. A second one: at once."""
        self.tell("stopping the runs, each with a checkpoint; once more to stop at once")
        self.stopping = True
        for going in self._going:
            going.process.terminate()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


LENGTHS = ("max_prompt_length", "max_completion_length")


def _differences(old: TrainConfig, new: TrainConfig) -> Iterator[str]:
    """Settings that differ, but for those that leave the result as it is."""
    before, after = flat(old.model_dump(mode="json")), flat(new.model_dump(mode="json"))
    # a run writes down what its model leaves room for
    follows = {key for key in LENGTHS if after.get(key) is None}
    for key in before.keys() | after.keys():
        ignored = key in ("output_dir", "verifier.workers", "report_to") or key in follows
        if not ignored and before.get(key) != after.get(key):
            yield f"{key} {before.get(key)!r}, planned {after.get(key)!r}"


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "it said nothing"
