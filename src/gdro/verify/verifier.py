"""The verifiers a run uses: lists of completions in, lists of rewards out, every outcome counted by
cause."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from gdro.core.errors import DataError
from gdro.data.prompts import Prompt
from gdro.data.rows import answer_text
from gdro.data.thinking import OPEN
from gdro.verify import causes
from gdro.verify.pool import WorkerPool
from gdro.verify.reader import RULES, Answer, read_for
from gdro.verify.types import GoldError, Outcome, RewardFunctionError, ScorerSpec, Task

KINDS = ("math", "exact", "reasoning_gym", "function")
MAX_COMPLETION = 1_000_000
"""Characters; a longer completion is refused before it is sent to a worker (some 250,000
tokens)."""
DEFAULT_MEMORY_MB = {"math": 512, "exact": 512, "reasoning_gym": 512, "function": 4096}


class PoolVerifier:
    """Scores completions in killable processes (see `pool.py`). A `Verifier`, and a context
    manager.

    Args:
        kind: `math` (math-verify behind guards), `exact` (equal after normalisation),
            `reasoning_gym` (the task family's own scorer), or `function` (a user's reward
            function).
        workers: worker processes; None takes one per core this process may use, at most 8.
        deadline: seconds of wall time one answer may take; then it scores 0 as `timed_out`.
        memory_mb: resident memory of one worker; None takes 512, or 4096 for `function`.
        function: for `function`: `path/to/file.py:name`, imported from there and nowhere else,
            called as
            `fn(completions: list[str], prompts: list[Prompt]) -> list[float]`, one completion at a
            time so that a hang costs one answer. It runs in a worker: it sees no variable of the
            trainer and no GPU of its own.
        errors: what to do when the user's function is at fault (raises, returns NaN, ...): `raise`
            stops the run, `wrong` scores 0 and counts `failed`.
        answer: what of a completion is its answer, one of `reader.RULES`; None is the kind's own
            rule.
        answer_name: for `function` in TRL's style: one more name under which it gets the gold
            answer.

    Attributes:
        opens_thinking: the prompts end inside a thinking part (see
            `gdro.data.chat.opens_thinking`), so a completion that does not close it has no answer.
            A user's function sees the completion as it is, unless `answer` is set.

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
        answer: str | None = None,
        answer_name: str = "",
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown verifier {kind!r}: one of {', '.join(KINDS)}")
        if (kind == "function") != bool(function):
            raise ValueError(
                "`function` (path/to/file.py:name) belongs to the verifier kind 'function'"
            )
        if errors not in ("raise", "wrong"):
            raise ValueError(f"errors = {errors!r}: 'raise' or 'wrong'")
        if answer is not None and answer not in RULES:
            raise ValueError(f"answer = {answer!r}: one of {', '.join(RULES)}")
        spec = ScorerSpec(kind, function, errors, answer or "", answer_name)
        self.opens_thinking = False
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
        """How many answers ended in each cause since the verifier was made, causes that occurred
        only."""
        with self._counts_lock:
            return dict(self._counts)

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
        """One reward per completion; see `Verifier.score`."""
        return [outcome.score for outcome in self.judge(prompts, completions)]

    def judge(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """Score, cause and detail of each completion; see `Verifier.judge`."""
        _same_length(prompts, completions, "prompts")
        tasks = [
            Task(
                prompt.id,
                self._opening + completion,
                prompt.answer,
                _fields(prompt) if self.pool.spec.wants_prompt else None,
            )
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        return self.outcomes(tasks)

    def answer(self, completion: str) -> Answer | None:
        """What is taken for the answer of a completion; see `Verifier.answer`."""
        return read_for(self.pool.spec.kind, self._opening + completion, self.pool.spec.answer)

    @property
    def _opening(self) -> str:
        """What the prompt has opened before the completion begins, where that counts."""
        spec = self.pool.spec
        counts = spec.kind != "function" or spec.answer
        return OPEN if self.opens_thinking and counts else ""

    def outcomes(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Score, cause and detail of every task, in their order; counted."""
        for task in tasks:
            for what, text in (("completion", task.completion), ("gold answer", task.gold)):
                if not isinstance(text, str):
                    raise TypeError(
                        f"{what} of prompt {task.id!r} is {type(text).__name__}, not text"
                    )
        limited = self.pool.spec.kind != "function"
        sent = [task for task in tasks if not (limited and len(task.completion) > MAX_COMPLETION)]
        scored = iter(self.pool.run(sent))
        refused = Outcome(0.0, causes.REFUSED_LENGTH)
        results = [
            refused if limited and len(task.completion) > MAX_COMPLETION else next(scored)
            for task in tasks
        ]
        with self._counts_lock:
            self._counts.update(outcome.cause for outcome in results)
        return results

    def check(self, prompts: Sequence[Prompt]) -> list[str]:
        """Load the scorer and read every gold, or try a user's function on one; see
        `Verifier.check`."""
        own = self.pool.spec.kind == "function"
        asked = prompts[:1] if own else prompts
        tasks = [
            Task(prompt.id, "", prompt.answer, _fields(prompt) if own else None, True)
            for prompt in asked
        ]
        found = list(zip((task.id for task in tasks), self.pool.run(tasks), strict=True))
        bad = [
            (prompt_id, outcome) for prompt_id, outcome in found if outcome.cause != causes.CORRECT
        ]
        if bad:
            prompt_id, outcome = bad[0]
            if own:
                raise RewardFunctionError(
                    f"reward function {self.pool.spec.function}: a trial call on prompt"
                    f" {prompt_id!r}, with its gold answer as the completion, ended as"
                    f" {outcome.cause} {outcome.detail}".rstrip()
                )
            others = f" ({len(bad) - 1} other prompts too)" if len(bad) > 1 else ""
            raise GoldError(f"prompt {prompt_id!r}: {outcome.detail or outcome.cause}{others}")
        return [] if own else [prompt_id for prompt_id, outcome in found if outcome.detail]

    def close(self) -> None:
        """End all workers. Closing twice is harmless."""
        self.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class MathVerifier(PoolVerifier):
    r"""Scores mathematical answers against gold answers with no prompts around.

        with MathVerifier(workers=4, deadline=1.0) as verifier:
            scores = verifier(completions, golds)      # [1.0, 0.0, ...]
            verifier.counts                            # {"correct": 1, "refused_exponent": 1, ...}

    See `PoolVerifier` for the arguments, `gdro.verify.math` for what counts as equal.
    """

    def __init__(
        self, workers: int | None = None, deadline: float = 1.0, memory_mb: int | None = None
    ) -> None:
        super().__init__("math", workers=workers, deadline=deadline, memory_mb=memory_mb)

    def __call__(
        self, completions: Sequence[str], golds: Sequence[str | int | float]
    ) -> list[float]:
        """One score, 1.0 or 0.0, per completion; `golds[i]` is the gold answer of `completions[i]`.

        Raises:
            TypeError: a completion is no text, or a gold neither text nor a finite number.
            ValueError: the two lists differ in length.
        """
        _same_length(golds, completions, "golds")
        tasks = [
            Task(f"#{i}", text, _gold(gold, i))
            for i, (text, gold) in enumerate(zip(completions, golds, strict=True))
        ]
        return [outcome.score for outcome in self.outcomes(tasks)]


def make_verifier(
    kind: str,
    *,
    workers: int | None = None,
    deadline: float = 1.0,
    memory_mb: int | None = None,
    function: str = "",
    errors: str = "raise",
    answer: str | None = None,
    answer_name: str = "",
) -> PoolVerifier:
    """The verifier of this kind; arguments as `PoolVerifier`. Nothing starts before its first
    use."""
    return PoolVerifier(
        kind,
        workers=workers,
        deadline=deadline,
        memory_mb=memory_mb,
        function=function,
        errors=errors,
        answer=answer,
        answer_name=answer_name,
    )


def text_only_note(ids: Sequence[str], total: int) -> str | None:
    """What to tell of golds that only the same text equals, as `check` returns them; None if there
    are none."""
    if not ids:
        return None
    shown = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
    return (
        f"data: {len(ids)} of {total} gold answers are words or are not read as mathematics; only"
        f" the same text is right for them ({shown})"
    )


def _gold(gold: object, place: int) -> str:
    """A gold answer as text, by the rule of the data doors."""
    try:
        return answer_text(gold, "gold answer", f"#{place}")
    except DataError as error:
        raise TypeError(str(error)) from error


def _default_workers() -> int:
    return max(
        1, min(8, len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)
    )


def _same_length(first: Sequence[object], completions: Sequence[str], name: str) -> None:
    if len(first) != len(completions):
        raise ValueError(f"{len(first)} {name} but {len(completions)} completions")


def _fields(prompt: Prompt) -> dict[str, object]:
    return {field.name: getattr(prompt, field.name) for field in dataclasses.fields(prompt)}
