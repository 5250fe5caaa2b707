"""The loop of one worker process: read a batch of tasks, answer each as soon as it is done.

The only place, with the logger, where every exception is caught: whatever an answer does, the run
goes on.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys

from gdro.verify import causes
from gdro.verify.types import Outcome, RewardFunctionError, Scorer, ScorerSpec, Task
from gdro.verify.wire import FrameReader, encode

_PR_SET_PDEATHSIG = 1


def run(sock: socket.socket, spec: ScorerSpec, memory_mb: int) -> None:
    """Load the scorer, set the limits, say so, then serve until the other end closes."""
    die_with_parent()
    try:
        from gdro.verify.scorers import load_scorer

        scorer = load_scorer(spec)
        limit_memory(memory_mb)
    except Exception as error:  # noqa: BLE001
        sock.sendall(encode({"fatal": f"{type(error).__name__}: {error}"}))
        return
    sock.sendall(encode({"ready": True}))
    serve(sock, scorer, spec.errors == "raise")


def serve(sock: socket.socket, scorer: Scorer, raise_faults: bool) -> None:
    """Answer batches until end of file. Leaves after an out-of-memory answer, with a clean slate in
    its successor.
    """
    reader = FrameReader(sock)
    while (batch := reader.read()) is not None:
        for fields in batch:
            outcome, fault = answer(scorer, Task(*fields))
            fault = fault if raise_faults else ""
            sock.sendall(encode({"fault": fault} if fault else list(outcome)))
            if outcome.cause == causes.OUT_OF_MEMORY:
                return


def answer(scorer: Scorer, task: Task) -> tuple[Outcome, str]:
    """The outcome of one task, and what the reward function did wrong ("" if nothing)."""
    try:
        return scorer(task), ""
    except MemoryError:
        return Outcome(0.0, causes.OUT_OF_MEMORY), ""
    except RewardFunctionError as error:
        return Outcome(0.0, causes.FAILED), str(error)
    except Exception as error:  # noqa: BLE001
        return Outcome(0.0, causes.UNPARSABLE, f"{type(error).__name__}: {error}"[:500]), ""


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, whatever it is doing then
    (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def limit_memory(memory_mb: int) -> None:
    """Cap the resident memory of this process at about `memory_mb`.

    The kernel limits address space, not resident memory; libraries reserve address space that they
    never touch. So the cap is on address space, and what is reserved but not resident once the
    scorer is loaded is added to it.

    Raises:
        MemoryError: the loaded scorer alone already needs more.
    """
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as statm:
        size, resident = (
            int(pages) * os.sysconf("SC_PAGE_SIZE") for pages in statm.read().split()[:2]
        )
    wanted = memory_mb * 2**20
    if resident >= wanted:
        raise MemoryError(
            f"the scorer alone takes {resident >> 20} MB: raise memory_mb above {memory_mb}"
        )
    limit = size - resident + wanted
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
