"""The outcome of one finished run of a comparison, and the small file that keeps it.

COMPARE/prompts.json holds the ids of the held-out prompts, COMPARE/METHOD/seed-S.outcome.json what the run answered and
cost. With seed-S.yaml, its settings, they are enough for table, figure and page: a comparison can be kept, published
and gone on with without its run folders, by a few KB a run instead of tens of MB.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gdro.core.types import Ints
from gdro.report.read import RecordError

PROMPTS = "prompts.json"
FORMAT = 1


@dataclass(frozen=True)
class Outcome:
    """One finished run.

    Attributes:
        ids: (P,) held-out prompts.
        correct: (E, P) correct samples at each evaluation.
        samples: of a prompt, the k of pass@k.
        steps, rollouts: (E,) where the evaluations stand.
        dead: share of groups without a gradient, mean over the steps.
        tokens, seconds: of training, from its step events.
        gradient: variance of a batch's gradient over that at equal rollouts (gdro.lab.gradient_record); NaN when it was
            not measured.
    """

    ids: tuple[str, ...]
    correct: Ints
    samples: int
    steps: tuple[int, ...]
    rollouts: tuple[float, ...]
    dead: float
    tokens: float
    seconds: float
    gradient: float


def save_outcome(path: Path, root: Path, outcome: Outcome) -> None:
    """Write the outcome beside its run folder, and the ids once for the comparison."""
    prompts = root / PROMPTS
    if not prompts.is_file():
        _write(prompts, json.dumps(list(outcome.ids), indent=0))
    values: dict[str, Any] = asdict(outcome) | {"correct": outcome.correct.tolist(), "ids": _hash(outcome.ids)}
    del values["gradient"]  # it has a file of its own
    values = {"format": FORMAT} | {
        key: None if isinstance(value, float) and np.isnan(value) else value for key, value in values.items()
    }
    _write(path, json.dumps(values))


def load_outcome(path: Path, root: Path) -> Outcome:
    """Read it back; `gradient` is NaN.

    Raises:
        RecordError: damaged, of another format, or of other prompts.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        ids = tuple(json.loads((root / PROMPTS).read_text(encoding="utf-8")))
        found = (values["format"], values["ids"])
        outcome = Outcome(
            ids,
            np.array(values["correct"], dtype=np.int64),
            int(values["samples"]),
            tuple(map(int, values["steps"])),
            tuple(map(float, values["rollouts"])),
            _number(values["dead"]),
            _number(values["tokens"]),
            _number(values["seconds"]),
            float("nan"),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: damaged, or {root / PROMPTS} is ({error!r}); train this run again") from error
    if found != (FORMAT, _hash(ids)) or outcome.correct.shape != (len(outcome.steps), len(ids)):
        raise RecordError(
            f"{path}: of another format, or tested on other prompts than {root / PROMPTS} names; remove the file to "
            "train this run again"
        )
    return outcome


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _hash(ids: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_text(text + "\n", encoding="utf-8")
    os.replace(draft, path)
