"""The verifiers a run uses: lists of completions in, lists of rewards out, every outcome counted by cause."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from gdro.data.prompts import Prompt
from gdro.verify import causes
from gdro.verify.pool import WorkerPool
from gdro.verify.types import GoldError, Outcome, ScorerSpec, Task, Verifier, VerifierError

KINDS = ("math", "exact", "reasoning_gym", "function")
MAX_COMPLETION = 1_000_000
"""Characters; a longer completion is refused before it is sent to a worker (some 250,000 tokens)."""
DEFAULT_MEMORY_MB = {"math": 512, "exact": 512, "reasoning_gym": 512, "function": 4096}


class PoolVerifier:
    """Scores completions in killable processes (see `pool.py`). A `Verifier`, and a context manager.

    Args:
        kind: `math` (math-verify behind guards), `exact` (equal after normalisation), `reasoning_gym` (the
            task family's own scorer), or `function` (a user's reward function).
        workers: worker processes; None takes one per core this process may use, at most 8.
        deadline: seconds of wall time one answer may take; then it scores 0 as `timed_out`.
        memory_mb: resident memory of one worker; None takes 512, or 4096 for `function`.
        function: for `function`: `path/to/file.py:name`, imported from there and nowhere else, called as
            `fn(completions: list[str], prompts: list[Prompt]) -> list[float]`, one completion at a time so
            that a hang costs one answer. It runs in a worker: it sees no variable of the trainer and no GPU
            of its own.
        errors: what to do when the user's function is at fault (raises, returns NaN, ...): `raise` stops the
            run, `wrong` scores 0 and counts `failed`.

    Raises:
        ValueError: a setting is out of range or unknown.
    """

    def __init__(
        self,
        kind: str,
        *,
        workers: int | None = None,
        deadline: float = 1.0,
        memory_mb: int | None = None,
        function: str = "",
        errors: str = "raise",
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown verifier {kind!r}: one of {', '.join(KINDS)}")
        if (kind == "function") != bool(function):
            raise ValueError("`function` (path/to/file.py:name) belongs to the verifier kind 'function'")
        if errors not in ("raise", "wrong"):
            raise ValueError(f"errors = {errors!r}: 'raise' or 'wrong'")
        spec = ScorerSpec(kind, function, errors)
        self.pool = WorkerPool(
            spec,
            workers=_default_workers() if workers is None else workers,
            deadline=deadline,
            memory_mb=DEFAULT_MEMORY_MB[kind] if memory_mb is None else memory_mb,
        )
        self._counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()

    @property
    def counts(self) -> dict[str, int]:
        """How many answers ended in each cause since the verifier was made, causes that occurred only."""
        with self._counts_lock:
            return dict(self._counts)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
        """One reward per completion; see `Verifier.score`."""
        _same_length(prompts, completions, "prompts")
        whole = self.pool.spec.wants_prompt
        tasks = [
            Task(prompt.id, completion, prompt.answer, _fields(prompt) if whole else None)
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        return [outcome.score for outcome in self.outcomes(tasks)]

    def outcomes(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Score, cause and detail of every task, in their order; counted."""
        for task in tasks:
            if not isinstance(task.completion, str):
                raise TypeError(f"completion of prompt {task.id!r} is {type(task.completion).__name__}, not text")
        limited = self.pool.spec.kind != "function"
        sent = [task for task in tasks if not (limited and len(task.completion) > MAX_COMPLETION)]
        scored = iter(self.pool.run(sent))
        refused = Outcome(0.0, causes.REFUSED_LENGTH)
        results = [refused if limited and len(task.completion) > MAX_COMPLETION else next(scored) for task in tasks]
        with self._counts_lock:
            self._counts.update(outcome.cause for outcome in results)
        return results

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Load the scorer and read every gold; see `Verifier.check`."""
        tasks = [Task(prompt.id, "", prompt.answer, None, True) for prompt in prompts]
        bad = [
            (task.id, outcome)
            for task, outcome in zip(tasks, self.pool.run(tasks), strict=True)
            if outcome.cause != causes.CORRECT
        ]
        if bad:
            prompt_id, outcome = bad[0]
            others = f" ({len(bad) - 1} other prompts too)" if len(bad) > 1 else ""
            raise GoldError(f"prompt {prompt_id!r}: {outcome.detail or outcome.cause}{others}")

    def close(self) -> None:
        """End all workers. Closing twice is harmless."""
        self.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class MathVerifier(PoolVerifier):
    r"""Scores mathematical answers against gold answers with no prompts around.

        with MathVerifier(workers=4, deadline=1.0) as verifier:
            scores = verifier(completions, golds)      # [1.0, 0.0, ...]
            verifier.counts                            # {"correct": 1, "refused_exponent": 1, ...}

    See `PoolVerifier` for the arguments, `gdro.verify.math` for what counts as equal.
    """

    def __init__(self, workers: int | None = None, deadline: float = 1.0, memory_mb: int | None = None) -> None:
        super().__init__("math", workers=workers, deadline=deadline, memory_mb=memory_mb)

    def __call__(self, completions: Sequence[str], golds: Sequence[str]) -> list[float]:
        """One score, 1.0 or 0.0, per completion; `golds[i]` is the gold answer of `completions[i]`."""
        _same_length(golds, completions, "golds")
        tasks = [Task(f"#{i}", text, gold) for i, (text, gold) in enumerate(zip(completions, golds, strict=True))]
        return [outcome.score for outcome in self.outcomes(tasks)]


class SourceVerifier:
    """Scores each prompt with the verifier of its data source (`Prompt.source`). A `Verifier` made of
    verifiers.

    Args:
        by_source: the verifier of each source; closed with this one.

    Raises:
        VerifierError: (by `score` and `check`) a prompt's source has no verifier.
    """

    def __init__(self, by_source: Mapping[str, Verifier]) -> None:
        self._by_source = dict(by_source)

    @property
    def counts(self) -> dict[str, int]:
        """The counts of all verifiers together."""
        total: Counter[str] = Counter()
        for verifier in self._distinct():
            total.update(verifier.counts)
        return dict(total)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
        """One reward per completion; see `Verifier.score`."""
        _same_length(prompts, completions, "prompts")
        rewards = [0.0] * len(prompts)
        for source, indices in self._routes(prompts).items():
            scores = self._by_source[source].score([prompts[i] for i in indices], [completions[i] for i in indices])
            for index, reward in zip(indices, scores, strict=True):
                rewards[index] = reward
        return rewards

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Every prompt with its own verifier; see `Verifier.check`."""
        for source, indices in self._routes(prompts).items():
            self._by_source[source].check([prompts[i] for i in indices])

    def close(self) -> None:
        """Close every verifier."""
        for verifier in self._distinct():
            verifier.close()

    def _distinct(self) -> Iterable[Verifier]:
        return {id(verifier): verifier for verifier in self._by_source.values()}.values()

    def _routes(self, prompts: Sequence[Prompt]) -> dict[str, list[int]]:
        routes: dict[str, list[int]] = {}
        for index, prompt in enumerate(prompts):
            if prompt.source not in self._by_source:
                known = ", ".join(sorted(self._by_source))
                raise VerifierError(
                    f"prompt {prompt.id!r}: no verifier for source {prompt.source!r} (there are: {known})"
                )
            routes.setdefault(prompt.source, []).append(index)
        return routes


def make_verifier(
    kind: str,
    *,
    workers: int | None = None,
    deadline: float = 1.0,
    memory_mb: int | None = None,
    function: str = "",
    errors: str = "raise",
) -> PoolVerifier:
    """The verifier of this kind; arguments as `PoolVerifier`. Nothing starts before its first use."""
    return PoolVerifier(kind, workers=workers, deadline=deadline, memory_mb=memory_mb, function=function, errors=errors)


def _default_workers() -> int:
    return max(1, min(8, len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1))


def _same_length(first: Sequence[object], completions: Sequence[str], name: str) -> None:
    if len(first) != len(completions):
        raise ValueError(f"{len(first)} {name} but {len(completions)} completions")


def _fields(prompt: Prompt) -> dict[str, object]:
    return {field.name: getattr(prompt, field.name) for field in dataclasses.fields(prompt)}
