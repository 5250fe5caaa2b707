"""`gdro train` in forked children, so that a trial costs no imports: this process imports
everything once.

Forking is safe here because nothing has started a thread or a pool yet; the children start their
own.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import reasoning_gym  # noqa: F401  (so that no child imports it)
from transformers.models.qwen3 import modeling_qwen3  # noqa: F401

import gdro.cli
import gdro.runs.prepare
import gdro.runs.train
from gdro.config import load_config
from gdro.runs.prompts import RunPrompts, load_prompts

Setup = Callable[[], None]


@dataclass
class Child:
    """One process of a run."""

    pid: int
    log: Path
    code: int | None = field(default=None)
    """Exit status, negative for a signal; None while it runs."""

    def poll(self) -> int | None:
        """The exit status when it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self) -> int:
        """Wait for its end."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


@dataclass
class Launch:
    """The processes of one start of a run (one, or several that train together)."""

    children: list[Child]
    is_resume: bool

    def resumed_from(self) -> int | None:
        """The step it went on from, 0 for the start; None while it has not said so."""
        if not self.is_resume:
            return 0
        found = re.search(r"resuming .* from (?:the start|checkpoint-(\d+))", self.text())
        return None if found is None else int(found[1] or 0)

    def ended(self) -> bool:
        """Whether every process has ended. As torchrun does, the others are killed when one
        fails."""
        codes = [child.poll() for child in self.children]
        if any(code not in (None, 0) for code in codes):
            self.kill()
            codes = [child.wait() for child in self.children]
        return None not in codes

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal every process."""
        for child in self.children:
            child.kill(number)

    def wait(self, limit: float = 900.0) -> list[int]:
        """Exit statuses, once all have ended.

        Raises:
            TimeoutError: they run longer than `limit` seconds.
        """
        end = time.monotonic() + limit
        while not self.ended():
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(
                    f"a run did not end within {limit:.0f} s; its log: {self.children[0].log}"
                )
            time.sleep(0.005)
        return [child.wait() for child in self.children]

    def text(self) -> str:
        """What the first process wrote."""
        return self.children[0].log.read_text(errors="replace")


def remember_prompts(overrides: Sequence[str]) -> None:
    """Make the prompts of these settings once, here: they are a function of the settings, and
    children share them."""
    data = load_config(None, overrides).data
    prompts = load_prompts(data)

    def remembered(asked: object) -> RunPrompts:
        return prompts if asked == data else load_prompts(asked)  # type: ignore[arg-type]

    gdro.runs.prepare.load_prompts = remembered


def launch(
    arguments: Sequence[str], log: Path, *, processes: int = 1, setup: Setup | None = None
) -> Launch:
    """Run `gdro ARGUMENTS` in children; `setup` is called in each before the command."""
    port = str(20_000 + os.getpid() % 10_000 + int(time.monotonic() * 7) % 10_000)
    children = []
    for rank in range(processes):
        environment = {}
        if processes > 1:
            environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            environment |= {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "ACCELERATE_USE_CPU": "true",
            }
        own = log if rank == 0 else log.with_name(f"{log.name}.rank{rank}")
        children.append(Child(_fork(list(arguments), own, environment, setup), own))
    return Launch(children, "--resume" in arguments)


def _fork(arguments: list[str], log: Path, environment: dict[str, str], setup: Setup | None) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(environment)
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(target, stream)
        os.close(target)
        if setup is not None:
            setup()
        code = gdro.cli.main(arguments)
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
