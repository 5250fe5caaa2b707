"""A run's record on disk (metrics.jsonl) as arrays.

What a crash, an interruption or a newer version leaves behind is read as far as it goes, and every
oddity becomes a note that the report shows. A record that holds nothing to show is an error.

The record of a resumed run repeats the steps after its checkpoint: what came after the checkpoint
was lost with the interrupted process, so it is dropped here, and of a step that occurs twice the
last one counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gdro.core.errors import GDROError
from gdro.core.types import Floats, Ints

RECORD = "metrics.jsonl"
DISTRIBUTIONS = {"share", "mass"}
"""Lists that sum to more than 0 once any prompt has a bin; a row of zeros says nothing and is read
as absent."""
EVENTS = ("start", "evaluation", "step", "checkpoint", "resume", "end")

Event = dict[str, object]


class RecordError(GDROError, ValueError):
    """A record that cannot be read; names the file, the line and what to do."""


@dataclass(frozen=True)
class Record:
    """One run, as its record tells it.

    Attributes:
        path: the metrics.jsonl it came from.
        start: the start event ({} when the record has none).
        end: the end event, or None for a run that is going on or was interrupted.
        steps: (T,) step numbers, rising, each once.
        scalars: name -> (T,), NaN where a step lacks it. A controller's under their own name;
            nested ones as "seconds.generate" and "verifier.wrong".
        by_bin: controller list name -> (T, B), hardest bin first, NaN where absent.
        evaluations: evaluation events in order of their step, each step once.
        bins: B, or 0 when the record never says.
        notes: sentences about what was odd in the file, for the reader of the report.
        resumed: the steps at which the run was taken up again.
        sources: source -> quantity -> (T,), what a step's `choice` says of each source, NaN where
            absent.
    """

    path: Path
    start: Event
    end: Event | None
    steps: Ints
    scalars: dict[str, Floats]
    by_bin: dict[str, Floats]
    evaluations: tuple[Event, ...]
    bins: int
    notes: tuple[str, ...]
    resumed: tuple[int, ...] = ()
    sources: dict[str, dict[str, Floats]] = field(default_factory=dict)

    def scalar(self, name: str) -> Floats:
        """(T,) values of a scalar, all NaN when no step has it."""
        return self.scalars.get(name, np.full(len(self.steps), np.nan))

    def per_bin(self, name: str) -> Floats:
        """(T, B) values of a per-bin list, all NaN when no step has it."""
        return self.by_bin.get(name, np.full((len(self.steps), self.bins), np.nan))

    def has(self, *names: str) -> bool:
        """Whether each of these scalars has at least one number."""
        return all(bool(np.isfinite(self.scalar(name)).any()) for name in names)

    def has_bins(self, *names: str) -> bool:
        """Whether each of these per-bin lists has at least one number."""
        return all(bool(np.isfinite(self.per_bin(name)).any()) for name in names)

    def varies(self, name: str) -> bool:
        """Whether a per-bin list ever holds two different numbers: a constant one shows no
        decision."""
        values = self.per_bin(name)
        known = values[np.isfinite(values)]
        return bool(known.size) and float(np.ptp(known)) > 1e-9

    @property
    def config(self) -> Mapping[str, object]:
        """The run's settings, {} when the record has none."""
        return mapping(self.start.get("config"))

    @property
    def edges(self) -> Floats:
        """(B+1,) pass-rate edges of the bins; even ones when the record has none."""
        edges = self.start.get("edges")
        if isinstance(edges, list) and len(edges) == self.bins + 1:
            return np.array(edges, dtype=np.float64)
        return np.linspace(0.0, 1.0, self.bins + 1)


def read_record(run: Path | str) -> Record:
    """Read the record of a run.

    Args:
        run: the run's folder, or its metrics.jsonl.

    Raises:
        RecordError: no such record, or nothing in it that can be shown.
    """
    path = Path(run)
    path = path / RECORD if path.is_dir() else path
    if not path.is_file():
        raise RecordError(
            f"{path}: no record there. Give the folder of a run, which holds {RECORD}."
        )
    story = _Story(path)
    for line, event in _events(path, story.notes):
        story.take(line, event)
    return story.record()


def read_evaluation(path: Path) -> tuple[tuple[str, ...], list[int], int]:
    """An evaluation's file: ids and correct samples of its prompts, in the file's order, and how
    many samples each has.

    Raises:
        RecordError: it is missing or damaged, or the prompts have different numbers of samples.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        ids, correct = tuple(row["id"] for row in rows), [int(row["correct"]) for row in rows]
        samples = {int(row["samples"]) for row in rows}
    except FileNotFoundError:
        raise RecordError(f"{path}: missing, though the record names this evaluation") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: damaged ({error!r}); train this run again") from error
    if len(samples) != 1:
        raise RecordError(
            f"{path}: holds {sorted(samples)} samples a prompt; it must be one number"
        )
    return ids, correct, samples.pop()


def mapping(value: object) -> Mapping[str, object]:
    """The value when it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _events(path: Path, notes: list[str]) -> Iterator[tuple[int, Event]]:
    """Lines of the file that hold an event; a damaged line is left out and noted."""
    lines = path.read_bytes().split(b"\n")
    last = max((number for number, line in enumerate(lines, 1) if line.strip()), default=0)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield number, event
        elif number == last:
            notes.append(f"The last line of {RECORD} (line {number}) is cut off and was left out.")
        else:
            notes.append(f"Line {number} of {RECORD} is damaged and was left out.")


@dataclass
class _Story:
    """The events so far."""

    path: Path
    notes: list[str] = field(default_factory=list)
    start: Event = field(default_factory=dict)
    end: Event | None = None
    steps: dict[int, Event] = field(default_factory=dict)
    evaluations: dict[int, Event] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    resumed: list[int] = field(default_factory=list)
    repeated: int = 0

    def take(self, line: int, event: Event) -> None:
        kind = event["event"]
        if kind == "start":
            self.start = event if not self.start else {**self.start, "restarted": True}
        elif kind == "step":
            step = self._step(line, event)
            self.repeated += step in self.steps
            self.steps[step] = {**event, "line": line}
        elif kind == "evaluation":
            self.evaluations[self._step(line, event)] = event
        elif kind == "resume":
            self._rewind(self._step(line, event))
            if isinstance(event.get("max_steps"), int):  # it may have been extended
                config = {**mapping(self.start.get("config")), "max_steps": event["max_steps"]}
                self.start = self.start | {"config": config}
        elif kind == "end":
            self.end = event
        elif kind not in EVENTS:
            self.unknown[str(kind)] = self.unknown.get(str(kind), 0) + 1

    def _step(self, line: int, event: Event) -> int:
        step = event.get("step")
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise RecordError(
                f"{self.path}, line {line}: `step` must be a whole number, got {step!r}"
            )
        return step

    def _rewind(self, step: int) -> None:
        self.resumed.append(step)
        self.end = None
        self.steps = {at: event for at, event in self.steps.items() if at <= step}
        self.evaluations = {at: event for at, event in self.evaluations.items() if at <= step}

    def record(self) -> Record:
        if not (self.start or self.steps or self.evaluations):
            raise RecordError(
                f"{self.path}: holds no event of a run yet. Wait for its first step, or train"
                " again."
            )
        numbers = sorted(self.steps)
        rows = [self.steps[number] for number in numbers]
        bins = self._bins(rows)
        scalars, by_bin = _columns(self.path, rows, bins)
        self._tell(rows)
        return Record(
            path=self.path,
            start=self.start,
            end=self.end,
            steps=np.array(numbers, dtype=np.int64),
            scalars=scalars,
            by_bin=by_bin,
            evaluations=tuple(self.evaluations[at] for at in sorted(self.evaluations)),
            bins=bins,
            notes=tuple(self.notes),
            resumed=tuple(self.resumed),
            sources=_sources(rows),
        )

    def _bins(self, rows: list[Event]) -> int:
        bins = self.start.get("bins")
        if isinstance(bins, int):
            return bins
        lists = (value for row in rows for value in mapping(row.get("controller")).values())
        return next((len(value) for value in lists if isinstance(value, list)), 0)

    def _tell(self, rows: list[Event]) -> None:
        if not self.start:
            self.notes.append(
                "The record has no start event, so the settings and the machine are unknown."
            )
        if self.start.get("restarted"):
            self.notes.append(
                "The record has more than one start event; the settings shown are the first one's."
            )
        if self.resumed:
            where = ", ".join(str(step) for step in self.resumed)
            self.notes.append(f"The run was interrupted and resumed at step {where}.")
        if self.repeated:
            what = "1 step occurs" if self.repeated == 1 else f"{self.repeated} steps occur"
            self.notes.append(f"{what} twice in the record; the last one counts.")
        if not rows:
            self.notes.append("No training step is recorded yet.")
        elif self.end is None:
            self.notes.append("The record has no end: the run is going on or was interrupted.")
        for kind, count in sorted(self.unknown.items()):
            what = "1 event" if count == 1 else f"{count} events"
            self.notes.append(f"{what} of the unknown kind {kind!r} left out.")


def _columns(
    path: Path, rows: list[Event], bins: int
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Rows of the record as columns: scalars (T,) and per-bin lists (T, B)."""
    scalars: dict[str, Floats] = {}
    by_bin: dict[str, Floats] = {}
    for index, row in enumerate(rows):
        for name, value in _flat(row):
            if isinstance(value, list):
                if len(value) != bins:
                    where = f"{path}, line {row['line']}"
                    raise RecordError(
                        f"{where}: `{name}` has {len(value)} values, the run has {bins} bins"
                    )
                by_bin.setdefault(name, np.full((len(rows), bins), np.nan))[index] = [
                    *map(number, value)
                ]
            elif value is None or isinstance(value, int | float):
                scalars.setdefault(name, np.full(len(rows), np.nan))[index] = number(value)
    for name in DISTRIBUTIONS & by_bin.keys():
        by_bin[name][np.nansum(by_bin[name], axis=1) == 0] = np.nan
    return scalars, by_bin


def _sources(rows: list[Event]) -> dict[str, dict[str, Floats]]:
    """What the steps say of each source, as columns."""
    found: dict[str, dict[str, Floats]] = {}
    for index, row in enumerate(rows):
        for name, entry in mapping(mapping(row.get("choice")).get("sources")).items():
            columns = found.setdefault(str(name), {})
            for key, value in mapping(entry).items():
                column = columns.setdefault(str(key), np.full(len(rows), np.nan))
                column[index] = number(value)
    return found


def _flat(row: Event) -> Iterator[tuple[str, object]]:
    """Name and value of everything a step holds; a controller's scalar does not hide the run's
    own."""
    for name, value in row.items():
        if name == "controller":
            items = mapping(value).items()
            yield from (
                (key, item) for key, item in items if isinstance(item, list) or key not in row
            )
        elif isinstance(value, Mapping):
            yield from ((f"{name}.{key}", item) for key, item in value.items())
        elif name not in ("event", "line"):
            yield name, value


def number(value: object) -> float:
    """A number of the record as a float; null and what is not a number are NaN, infinities too."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return math.nan
    return float(value)
