"""Completions that an evaluation keeps beside its counts, so that a person can read what changed.

Of each held-out prompt the first completion that was right and the first that was not, where there
is one, with the verdict and the answer that was read. One file an evaluation,
evaluations/completions-STEP.jsonl in the run's folder, one line a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gdro.report.read import RecordError

HEAD, TAIL = 800, 2_200
"""Characters kept of a longer text: at its start, and at its end, where an answer stands."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion.

    Attributes:
        text: what the model wrote, shortened by `shorten`.
        score: the verifier's.
        right: whether that counts as correct.
        cause: the verdict, one of `gdro.verify.causes`.
        answer: what was taken for the answer; None where there was none.
        ended: whether it ended by itself; False: it was cut off at the limit.
    """

    text: str
    score: float
    right: bool
    cause: str
    answer: str | None
    ended: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A held-out prompt and what was kept of its completions.

    Attributes:
        id, question, gold: of the prompt.
        correct: how many of the samples were right.
        samples: how many there were.
        completions: the first right and the first wrong one, in the order of sampling.
    """

    id: str
    question: str
    gold: str
    correct: int
    samples: int
    completions: tuple[Completion, ...]

    def one(self, right: bool) -> Completion:
        """A completion that was right, or was not; the other kind where there is none of it."""
        return next(
            (found for found in self.completions if found.right == right), self.completions[0]
        )


def shorten(text: str) -> str:
    """The text, or of a long one its start and its end, with how much is left out between."""
    left_out = len(text) - HEAD - TAIL
    if left_out <= 0:
        return text
    return f"{text[:HEAD]}\n[... {left_out:,} characters left out ...]\n{text[-TAIL:]}"


def completions_file(folder: Path, step: int) -> Path:
    """Where the completions of an evaluation stand, in the folder of its run."""
    return folder / "evaluations" / f"completions-{step:06d}.jsonl"


def write_completions(folder: Path, step: int, shown: Sequence[Shown]) -> None:
    """Write what an evaluation kept."""
    path = completions_file(folder, step)
    path.parent.mkdir(exist_ok=True)
    lines = (json.dumps(asdict(prompt), ensure_ascii=False) + "\n" for prompt in shown)
    path.write_text("".join(lines), encoding="utf-8", errors="surrogatepass")


def read_completions(folder: Path, step: int) -> dict[str, Shown]:
    """By prompt id, what the evaluation of a step kept; empty where there is no such file.

    Raises:
        RecordError: a line that is damaged.
    """
    path = completions_file(folder, step)
    if not path.is_file():
        return {}
    found = {}
    text = path.read_bytes().decode("utf-8", "replace")
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        try:
            row = json.loads(line)
            found[row["id"]] = _shown(row)
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError(
                f"{path}, line {number}: damaged ({error}); remove the file to report without"
                " completions"
            ) from error
    return found


def _shown(row: Mapping[str, object]) -> Shown:
    kept = row["completions"]
    if not isinstance(kept, list) or not kept:
        raise ValueError("no completions")
    completions = tuple(Completion(**entry) for entry in kept)
    return Shown(**{**row, "completions": completions})  # type: ignore[arg-type]
