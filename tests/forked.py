"""`gdro ...` and scripts as processes of their own, without seconds of imports: each is forked from
a server that has imported torch, transformers and TRL once and does nothing else.

A process here is as real as one from a shell: its own pid, signals, files, exit status, and no GPU.
It leaves out the start and the end of an interpreter, for which `tests/runs/test_train.py` and
`tests/runs/test_two_processes.py` start one each from a shell. So do tests of settings that
libraries read when they are imported, say `HF_ENDPOINT`.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "pytest",
        "reasoning_gym",
        "transformers.models.qwen3.modeling_qwen3",
        "trl.trainer.sft_trainer",
        "gdro.runs.train",
        "gdro.runs.evaluate",
    ]
)
CELLS = (
    "[{family: chain_sum, level: '2', config: {min_terms: 3, max_terms: 3, max_digits: 1}},"
    " {family: palindrome_generation, level: '1', config: {min_length: 3, max_length: 4}}]"
)
QUICK = ("verifier.kind=exact", f"data.cells={CELLS}")
"""Settings for runs in which neither data nor verifier matter: a quarter of the default's time goes
into spell_backward's dictionary, and as much into what its verifier's processes import."""
TWO_STEPS = (
    *QUICK,
    "max_steps=2",
    "prompts_per_step=16",
    "data.size=64",
    "data.heldout_size=24",
    "evaluation.num_generations=2",
)
LONGEST = 280.0
"""Seconds that a process may take."""
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True)
class Done:
    """As `subprocess.CompletedProcess`: `returncode` is negative for a signal."""

    returncode: int
    stdout: str
    stderr: str


class Forked:
    """A process that runs.

    Args:
        script: a Python file; None for the command line of gdro.
        words: its arguments.
        folder: where its stdout and stderr are kept.
        environment: variables to set besides.
    """

    def __init__(
        self, script: Path | None, words: tuple[str, ...], folder: Path, environment: dict[str, str]
    ) -> None:
        self._said = (folder / "stdout", folder / "stderr")
        self._process = _CONTEXT.Process(
            target=_child, args=(script, words, Path.cwd(), NO_GPU | environment, self._said)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self._process.is_alive():
            os.kill(self._process.pid, number)

    def wait(self) -> Done:
        """Wait for its end.

        Raises:
            TimeoutError: it takes longer than `LONGEST`.
        """
        self._process.join(LONGEST)
        if self._process.is_alive():
            raise TimeoutError(self._said[1].read_text())
        return Done(self._process.exitcode, *(path.read_text() for path in self._said))


@contextmanager
def started(
    *words: str, script: Path | None = None, environment: dict[str, str] | None = None
) -> Iterator[Forked]:
    """`gdro WORDS`, or the script; killed when the block is left."""
    with tempfile.TemporaryDirectory() as folder:
        forked = Forked(script, words, Path(folder), environment or {})
        try:
            yield forked
        finally:
            forked._process.kill()
            forked._process.join()


def gdro(*words: str) -> Done:
    """Run `gdro WORDS` to its end."""
    with started(*words) as forked:
        return forked.wait()


def run_script(script: Path, *words: str) -> Done:
    """Run `python SCRIPT WORDS` to its end."""
    with started(*words, script=script) as forked:
        return forked.wait()


def on_two(*words: str, script: Path | None = None) -> list[Done]:
    """`gdro WORDS`, or the script, on two processes that find each other as under torchrun."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    with ExitStack() as stack:
        both = [
            stack.enter_context(
                started(
                    *words, script=script, environment=meet | {"RANK": rank, "LOCAL_RANK": rank}
                )
            )
            for rank in "01"
        ]
        return [forked.wait() for forked in both]


def _child(
    script: Path | None,
    words: tuple[str, ...],
    cwd: Path,
    environment: dict[str, str],
    said: tuple[Path, Path],
) -> None:
    gc.freeze()  # what the server has imported is no garbage
    os.environ.update(environment)
    os.chdir(cwd)
    for stream, path in zip((1, 2), said, strict=True):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(handle, stream)
        os.close(handle)
    if script is None:
        from gdro.cli import main

        sys.exit(main(words))
    sys.argv[:] = [str(script), *words]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")
