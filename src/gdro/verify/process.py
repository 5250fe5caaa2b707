"""The trainer's side of the worker processes: start the nursery, have it fork and bury workers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any

from gdro.verify.types import ScorerSpec, VerifierError
from gdro.verify.wire import FrameReader, encode

START_SECONDS = 120.0
"""How long imports may take before the scorer counts as not loading."""
_REPLY_SECONDS = 10.0
_ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    )
}


class Worker:
    """One worker process, seen from the trainer.

    Attributes:
        pid: its process id; only for messages and tests, killing is the nursery's work.
        ready: it has loaded the scorer.
        batch: indices of the tasks sent and not yet answered, in the order in which it answers
            them.
        heard: monotonic time of its last message (or of its start): the deadline counts from here.
    """

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self.ready = False
        self.batch: deque[int] = deque()
        self.heard = time.monotonic()
        self._sock = sock
        self._reader = FrameReader(sock)

    def fileno(self) -> int:
        """For poll()."""
        return self._sock.fileno()

    def send(self, indices: list[int], tasks: list[Any]) -> None:
        """Give it a batch. A dead worker takes it silently: the end of file shows in `receive`.

        Raises:
            TypeError: a task holds something that is not JSON.
        """
        message = encode(tasks)
        self.batch.extend(indices)
        with contextlib.suppress(OSError):
            self._sock.sendall(message)
        self.heard = time.monotonic()

    def receive(self) -> tuple[list[Any], bool]:
        """Frames that have arrived (call when readable), and whether the worker still lives."""
        alive = self._reader.fill()
        frames = []
        while (frame := self._reader.pop()) is not None:
            frames.append(frame)
        self.heard = time.monotonic()
        return frames, alive

    def close(self) -> None:
        """Close the trainer's end; an idle worker leaves by itself then."""
        self._sock.close()


class Nursery:
    """Handle on one nursery process (see `nursery.py`). Calls may come from any thread, one at a
    time is served.
    """

    def __init__(self, spec: ScorerSpec, memory_mb: int) -> None:
        self._lock = threading.Lock()
        self._settings = {
            "spec": dataclasses.asdict(spec),
            "memory_mb": memory_mb,
            "sys_path": list(sys.path),
        }
        self._control, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gdro.verify.nursery", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={
                    **os.environ,
                    **_ONE_THREAD,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
            )
        finally:
            theirs.close()
        self._reader = FrameReader(self._control)
        reply = self._exchange(encode(self._settings), [], START_SECONDS)
        if reply is None:
            self.close()
            kind, code = spec.kind, self._process.returncode
            if code < 0:
                raise VerifierError(
                    f"the process that loads the verifier's {kind!r} libraries was killed (signal"
                    f" {-code}), by someone or for taking longer than {START_SECONDS:.0f} s; start"
                    " again where there is room for it"
                )
            raise VerifierError(
                f"the verifier's {kind!r} libraries do not import: see the traceback above"
            )

    @property
    def pid(self) -> int:
        """Process id, for messages and tests."""
        return self._process.pid

    def fork(self) -> Worker | None:
        """A new worker, or None if the nursery itself has died."""
        ours, theirs = socket.socketpair()
        with theirs:
            reply = self._command({"fork": True}, [theirs.fileno()])
        if reply is None:
            ours.close()
            return None
        ours.settimeout(START_SECONDS)
        return Worker(reply["pid"], ours)

    def bury(self, worker: Worker) -> dict[str, Any]:
        """Kill the worker if it lives; how it ended (`{}` if the nursery is gone, the kernel has
        killed it then).
        """
        worker.close()
        return self._command({"bury": worker.pid}, []) or {}

    def close(self) -> None:
        """End the nursery, and with it every worker. Twice is harmless."""
        self._control.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def abandon(self) -> None:
        """Close the inherited socket in a forked child, leaving the processes to the parent."""
        self._control.close()

    def _command(self, command: dict[str, Any], fds: list[int]) -> Any | None:
        return self._exchange(json.dumps(command).encode(), fds, _REPLY_SECONDS)

    def _exchange(self, message: bytes, fds: list[int], seconds: float) -> Any | None:
        """Send, wait for the reply; None if the nursery is gone or does not answer (it is killed
        then)."""
        with self._lock:
            try:
                self._control.settimeout(seconds)
                socket.send_fds(self._control, [message], fds)
                return self._reader.read()
            except OSError:
                self._process.kill()
                return None
