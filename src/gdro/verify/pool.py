"""Killable worker processes that score answers: a hard deadline per answer, a memory limit per
worker.

Why processes: a thread cannot be killed, and `signal.alarm` neither works outside the main thread
nor interrupts C code (one power of two large integers is one call). Why not concurrent.futures: it
cannot kill one worker and keep the others.

How one call runs: the calling thread claims idle workers, sends each a small batch, and waits for
results. A worker answers task by task, so a silence longer than the deadline belongs to the first
unanswered task of its batch: that one is scored wrong, the worker is killed and replaced, the rest
of its batch goes back to the queue.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Sequence

from gdro.verify import causes
from gdro.verify.process import START_SECONDS, Nursery, Worker
from gdro.verify.types import Outcome, RewardFunctionError, ScorerSpec, Task, VerifierError

_MAX_BATCH = 64
_MAX_BATCH_CHARS = 1 << 17
_MAX_FAILED_STARTS = 3


class _Slot:
    """The right to run one worker; `worker` is None until it is first needed and after a kill."""

    def __init__(self) -> None:
        self.worker: Worker | None = None


class _Job:
    """One call of `run`: what is still to do, what is done, and the slots that work on it."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.todo = deque(range(len(tasks)))
        self.outcomes: list[Outcome | None] = [None] * len(tasks)
        self.slots: list[_Slot] = []

    def take(self, share: int) -> list[int]:
        """Up to `share` indices off the queue, fewer when their texts are long."""
        taken: list[int] = []
        chars = 0
        while self.todo and len(taken) < share and chars < _MAX_BATCH_CHARS:
            taken.append(self.todo.popleft())
            chars += len(self.tasks[taken[-1]].completion)
        return taken


class WorkerPool:
    """Scores tasks in `workers` processes. Starts them when first used; safe to use from several
    threads at once.

    Args:
        spec: which scorer the workers load.
        workers: how many processes, at least 1.
        deadline: seconds of wall time one answer may take, from the result before it.
        memory_mb: resident memory one worker may take.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(self, spec: ScorerSpec, *, workers: int, deadline: float, memory_mb: int) -> None:
        if workers < 1:
            raise ValueError(f"workers = {workers}: at least 1 is needed")
        if not (0.0 < deadline < math.inf):
            raise ValueError(
                f"deadline = {deadline}: a positive, finite number of seconds is needed"
            )
        if memory_mb < 64:
            raise ValueError(f"memory_mb = {memory_mb}: a worker needs at least 64 MB")
        self.spec = spec
        self.deadline = deadline
        self.memory_mb = memory_mb
        self.restarts = 0
        self.peak_mb = 0.0
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._start_lock = threading.Lock()
        self._idle = [_Slot() for _ in range(workers)]
        self._slots = tuple(self._idle)
        self._waiting: deque[tuple[threading.Event, list[_Slot]]] = deque()
        self._nursery: Nursery | None = None
        self._failed_starts = 0
        self._closed = False

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers alive now (for tests and monitoring)."""
        return [slot.worker.pid for slot in self._slots if slot.worker is not None]

    def run(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Score every task; outcomes in the order of the tasks.

        Raises:
            RewardFunctionError: the user's function is at fault on one of them.
            VerifierError: the pool is closed, was opened in the parent of this forked process, or
                cannot start.
        """
        self._check_usable()
        job = _Job(tasks)
        try:
            while job.todo or any(slot.worker and slot.worker.batch for slot in job.slots):
                self._recruit(job)
                self._listen(job)
        finally:
            for slot in list(job.slots):
                self._release(job, slot)
        return [outcome for outcome in job.outcomes if outcome is not None]

    def close(self) -> None:
        """End every process. A call still running in another thread gets a VerifierError."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for event, _ in self._waiting:
                event.set()
        if self._nursery is not None:
            self._nursery.close() if os.getpid() == self._owner else self._nursery.abandon()
        for slot in self._slots:
            if slot.worker is not None:
                slot.worker.close()

    def _check_usable(self) -> None:
        if self._closed:
            raise VerifierError("the verifier is closed")
        if os.getpid() != self._owner:
            raise VerifierError(
                f"this verifier belongs to process {self._owner}, this is its forked child"
                f" {os.getpid()}: make a verifier in the process that uses it"
            )

    # Slots: claimed by a call, handed on in the order of asking.

    def _claim(self, wait: bool) -> _Slot | None:
        with self._lock:
            if self._idle and not self._waiting:
                return self._idle.pop()
            if not wait:
                return None
            ticket: tuple[threading.Event, list[_Slot]] = (threading.Event(), [])
            self._waiting.append(ticket)
        ticket[0].wait()
        self._check_usable()
        return ticket[1][0]

    def _release(self, job: _Job, slot: _Slot) -> None:
        """Give the slot to whoever waits longest. A worker with unanswered tasks is killed."""
        job.slots.remove(slot)
        if slot.worker is not None and slot.worker.batch:
            self._bury(slot)
        with self._lock:
            if self._waiting:
                event, hand = self._waiting.popleft()
                hand.append(slot)
                event.set()
            else:
                self._idle.append(slot)

    def _recruit(self, job: _Job) -> None:
        """Claim slots while there is more to do than they have in hand; block only without any."""
        wanted = math.ceil(len(job.todo) / 2)
        while job.todo and len(job.slots) < max(1, wanted):
            slot = self._claim(wait=not job.slots)
            if slot is None:
                return
            job.slots.append(slot)
            if slot.worker is not None and self._died_idle(slot.worker):
                self._bury(slot)
            self._assign(job, slot)

    def _died_idle(self, worker: Worker) -> bool:
        """An idle worker has nothing to say: if its socket is readable, it is the end of file."""
        if not worker.ready:
            return False
        poll = select.poll()
        poll.register(worker.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _assign(self, job: _Job, slot: _Slot) -> None:
        """Give an idle slot its next batch; start its worker first where there is none."""
        if slot.worker is None:
            slot.worker = self._start()
        if slot.worker.ready and not slot.worker.batch:
            share = math.ceil(len(job.todo) / (4 * len(self._slots)))
            taken = job.take(min(_MAX_BATCH, max(1, share)))
            if taken:
                self._send(slot.worker, taken, job.tasks)

    def _send(self, worker: Worker, taken: list[int], tasks: Sequence[Task]) -> None:
        try:
            worker.send(taken, [tasks[index] for index in taken])
        except TypeError as error:
            raise VerifierError(
                f"one of the prompts {[tasks[index].id for index in taken][:3]} ... cannot go to a"
                f" worker: its fields must be JSON values ({error})"
            ) from error

    # Processes.

    def _start(self) -> Worker:
        with self._start_lock:
            self._check_usable()
            for _ in range(2):
                if self._nursery is None:
                    self._nursery = Nursery(self.spec, self.memory_mb)
                if (worker := self._nursery.fork()) is not None:
                    return worker
                self._nursery.close()
                self._nursery = None
        raise VerifierError(
            "the verifier's workers cannot be started: the machine may be out of processes or"
            " memory"
        )

    def _bury(self, slot: _Slot) -> str:
        """Kill the slot's worker if it lives, forget it, and say how it ended."""
        worker, slot.worker = slot.worker, None
        if worker is None or self._nursery is None:
            return "was gone"
        end = self._nursery.bury(worker)
        self.restarts += 1
        self.peak_mb = max(self.peak_mb, end.get("peak_mb", 0.0))
        return f"exit status {end.get('status', 'unknown')}"

    # Results.

    def _listen(self, job: _Job) -> None:
        """Wait for the next result, end of file or deadline among this call's workers, and act on
        it."""
        busy = {slot.worker.fileno(): slot for slot in job.slots if slot.worker is not None}
        if not busy:
            return
        poll = select.poll()
        for descriptor in busy:
            poll.register(descriptor, select.POLLIN)
        next_alarm = min(self._due(slot.worker) for slot in busy.values() if slot.worker)
        events = poll.poll(max(0.0, next_alarm - time.monotonic()) * 1000 + 1)
        self._check_usable()
        for descriptor, _ in events:
            self._hear(job, busy.pop(descriptor))
        now = time.monotonic()
        for slot in busy.values():
            if slot.worker is not None and now >= self._due(slot.worker):
                self._late(job, slot)
        for slot in list(job.slots):
            self._go_on(job, slot)

    def _due(self, worker: Worker) -> float:
        """When silence of this worker becomes too long."""
        if not worker.ready:
            return worker.heard + START_SECONDS
        return worker.heard + self.deadline

    def _hear(self, job: _Job, slot: _Slot) -> None:
        """Take what a worker has sent: `ready`, results, or its end."""
        assert slot.worker is not None
        frames, alive = slot.worker.receive()
        for frame in frames:
            if isinstance(frame, list):
                outcome = Outcome(*frame)
                job.outcomes[slot.worker.batch.popleft()] = outcome
                if outcome.cause == causes.OUT_OF_MEMORY:
                    self._replace(job, slot)
                    return
            elif "fault" in frame:
                raise RewardFunctionError(frame["fault"])
            elif "fatal" in frame:
                raise VerifierError(
                    f"the {self.spec.kind!r} scorer does not load: {frame['fatal']}"
                )
            else:
                slot.worker.ready = True
                self._failed_starts = 0
        if not alive:
            self._crashed(job, slot)

    def _crashed(self, job: _Job, slot: _Slot) -> None:
        assert slot.worker is not None
        started = slot.worker.ready
        self._blame(job, slot, causes.CRASHED)
        if not started:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise VerifierError(
                    f"{_MAX_FAILED_STARTS} workers in a row died while loading the"
                    f" {self.spec.kind!r} scorer within {self.memory_mb} MB"
                )

    def _late(self, job: _Job, slot: _Slot) -> None:
        if slot.worker is not None and not slot.worker.ready:
            raise VerifierError(
                f"the {self.spec.kind!r} scorer did not load within {START_SECONDS:.0f} s"
            )
        self._blame(job, slot, causes.TIMED_OUT)

    def _blame(self, job: _Job, slot: _Slot, cause: str) -> None:
        """The first unanswered task of the slot's worker killed it or outlived its deadline: it
        scores 0."""
        assert slot.worker is not None
        guilty = slot.worker.batch.popleft() if slot.worker.batch else None
        end = self._replace(job, slot)
        if guilty is not None:
            job.outcomes[guilty] = Outcome(0.0, cause, end)

    def _replace(self, job: _Job, slot: _Slot) -> str:
        """Put the worker's unanswered tasks back at the head of the queue and bury it."""
        assert slot.worker is not None
        job.todo.extendleft(reversed(slot.worker.batch))
        slot.worker.batch.clear()
        return self._bury(slot)

    def _go_on(self, job: _Job, slot: _Slot) -> None:
        """After a batch: hand the slot on if another call waits or nothing is left, else go on."""
        if slot.worker is not None and (slot.worker.batch or not slot.worker.ready):
            return
        if not job.todo or self._waiting:
            self._release(job, slot)
        else:
            self._assign(job, slot)
