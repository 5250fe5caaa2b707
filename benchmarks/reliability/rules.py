"""When a run is killed. A rule arms the child before it starts, watches it from outside, or
both."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from forks import Launch, Setup

POLL = 0.002
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR


class Rule:
    """Lets a launch run until it is to die; False when it ended by itself first."""

    name = "never"
    lost = 0
    """Checkpoints that were damaged before the launch."""

    def setup(self, run: Path) -> Setup | None:
        """What the child does to itself before it starts."""
        return None

    def watch(self, launch: Launch, run: Path) -> None:
        """Returns when the launch has ended, by the kill or by itself."""
        launch.wait()


@dataclass
class AfterStep(Rule):
    """SIGKILL as soon as the line of a step stands in the record: its checkpoint is being written
    then.

    With `kind` checkpoint: once the checkpoint of the step is sealed.
    """

    step: int
    kind: str = "step"

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"after {self.kind} {self.step}"

    def watch(self, launch: Launch, run: Path) -> None:
        record, old = run / "metrics.jsonl", _inode(run / "metrics.jsonl")
        while not launch.ended():
            if _inode(record) != old and any(
                event["step"] == self.step for event in events(record, self.kind)
            ):
                launch.kill()
                break
            time.sleep(POLL)
        launch.wait()


@dataclass
class AfterSeconds(Rule):
    """SIGKILL at a moment."""

    seconds: float

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"after {self.seconds:.3f} s"

    def watch(self, launch: Launch, run: Path) -> None:
        end = time.monotonic() + self.seconds
        while not launch.ended() and time.monotonic() < end:
            time.sleep(POLL)
        launch.kill()
        launch.wait()


@dataclass
class AtOperation(Rule):
    """The process kills itself just before its n-th change to the run's folder (open to write,
    rename, remove, ...)."""

    number: int

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"before file operation {self.number}"

    def setup(self, run: Path) -> Setup | None:
        return lambda: sys.addaudithook(_Counter(str(run.resolve()), self.number))


@dataclass
class InsideCheckpoint(Rule):
    """The process dies `seconds` after it makes the folder of its `checkpoint`-th checkpoint,
    wherever it then is."""

    seconds: float
    checkpoint: int = 1

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{1000 * self.seconds:.1f} ms into a checkpoint"

    def setup(self, run: Path) -> Setup | None:
        return lambda: sys.addaudithook(_Alarm(self.seconds, self.checkpoint))


class _Counter:
    def __init__(self, root: str, number: int) -> None:
        self.root, self.left = root, number

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if _changes(event, arguments, self.root):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class _Alarm:
    """An alarm signal that nobody handles ends a process at once, inside C or Rust code too."""

    def __init__(self, seconds: float, checkpoint: int) -> None:
        self.seconds, self.left = seconds, checkpoint

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.mkdir" and Path(str(arguments[0])).name.startswith("checkpoint-"):
            self.left -= 1
            if self.left == 0:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, max(self.seconds, 1e-6))


def _changes(event: str, arguments: tuple[object, ...], root: str) -> bool:
    if event == "open":
        path, mode, flags = arguments
        if not isinstance(path, (str, os.PathLike)):
            return False
        writes = (isinstance(mode, str) and mode[:1] in "wax") or (
            isinstance(flags, int) and flags & WRITING
        )
        return bool(writes) and os.path.abspath(os.fspath(path)).startswith(root)
    return event in CHANGES and os.path.abspath(os.fsdecode(str(arguments[0]))).startswith(root)


def _inode(path: Path) -> int | None:
    """Changes when a resume has cut the record back."""
    return path.stat().st_ino if path.exists() else None


def events(record: Path, kind: str) -> list[dict[str, object]]:
    """The whole lines of a kind in a record that is being written."""
    try:
        content = record.read_bytes()
    except FileNotFoundError:
        return []
    mark = f'{{"event": "{kind}"'.encode()
    lines = [line for line in content.split(b"\n")[:-1] if line.startswith(mark)]
    return [json.loads(line) for line in lines]
