"""A small single-threaded process that forks the workers, kills them and buries them.

It imports the scorer's libraries once, so a new worker costs a fork (about 10 ms) and not an import
(about 500 ms), and a killed one is replaced at once. It never runs an answer. Forking the trainer
itself would copy its threads' locks (torch, OpenMP) in an unknown state; here there are no threads.
A worker's process id is valid until the nursery reaps it, so a kill can never hit a stranger. When
the trainer ends, however it ends, the nursery ends; when the nursery ends, the kernel kills the
workers.

Run as `python -m gdro.verify.nursery FD`, FD being a connected Unix socket.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from gdro.verify import worker
from gdro.verify.types import ScorerSpec
from gdro.verify.wire import FrameReader, encode

_PARENT_POLL_MS = 1000


def main(fd: int) -> None:
    """Read the settings, import, say ready, then fork and bury on command until the trainer is
    gone."""
    control = socket.socket(fileno=fd)
    parent = os.getppid()
    settings = FrameReader(control).read()
    if settings is None:
        return
    prepare(settings)
    control.sendall(encode({"ready": True}))
    poll = select.poll()
    poll.register(control, select.POLLIN)
    children: set[int] = set()
    try:
        while os.getppid() == parent:
            if not poll.poll(_PARENT_POLL_MS):
                continue
            message, fds, _, _ = socket.recv_fds(control, 4096, 1)
            if not message:
                return
            command = json.loads(message)
            if "bury" in command:
                reply = bury(command["bury"]) if command["bury"] in children else {}
                children.discard(command["bury"])
            else:
                reply = {"pid": fork_worker(fds[0], control, settings)}
                children.add(reply["pid"])
            control.sendall(encode(reply))
    finally:
        for pid in children:
            bury(pid)


def prepare(settings: dict[str, Any]) -> None:
    """Take over the trainer's import path and import what every worker of this kind needs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = settings["sys_path"]
    from gdro.verify.scorers import preload

    preload(ScorerSpec(**settings["spec"]))
    gc.collect()
    gc.freeze()


def fork_worker(fd: int, control: socket.socket, settings: dict[str, Any]) -> int:
    """Fork a worker that serves on socket `fd`; its process id."""
    pid = os.fork()
    if pid == 0:
        control.close()
        become_worker(fd, settings)
    os.close(fd)
    return pid


def become_worker(fd: int, settings: dict[str, Any]) -> None:
    """The child's whole life. Never returns: the nursery's loop and exit handlers are not its
    own."""
    try:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        worker.run(socket.socket(fileno=fd), ScorerSpec(**settings["spec"]), settings["memory_mb"])
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        os._exit(0)


def bury(pid: int) -> dict[str, Any]:
    """Kill a worker if it still lives, and say how it ended (`status` as of
    os.waitstatus_to_exitcode; peak MB).
    """
    done, status, usage = os.wait4(pid, os.WNOHANG)
    if not done:
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "peak_mb": usage.ru_maxrss / 1024,
        "killed": not done,
    }


if __name__ == "__main__":
    main(int(sys.argv[1]))
