"""The record of a run: metrics.jsonl, one event a line, written at once by
`gdro.io.RecordWriter`; NaN becomes null.

A resumed run first cuts the record back to its checkpoint, so that an interrupted run leaves the
same lines as one that never stopped (but for `resume` events, times and seconds).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gdro.io import write_atomic

Event = dict[str, Any]


def cut_back(path: Path, step: int) -> list[Event]:
    """Drop what came after the checkpoint of `step`, and a line left half written; the rest stays
    byte for byte.

    Returns:
        The events kept.
    """
    kept: list[tuple[bytes, Event]] = []
    sealed = False
    for line, event in _lines(path):
        if event.get("step", 0) <= step and (
            event["event"] == "resume" or not (sealed or event["event"] == "end")
        ):
            kept.append((line, event))
            sealed = sealed or (event["event"] == "checkpoint" and event["step"] == step)
    write_atomic(path, b"".join(line for line, _ in kept))
    return [event for _, event in kept]


def read_events(path: Path) -> list[Event]:
    """Every whole event of a record, in order."""
    return [event for _, event in _lines(path)]


def start_of(path: Path) -> Event | None:
    """The event with which the run of a record began, if it came so far."""
    return next((event for _, event in _lines(path) if event["event"] == "start"), None)


def machine_words(machine: Mapping[str, Any]) -> str:
    """The kind of machine that a start event names, in words."""
    count = int(machine["processes"])
    return (
        f"{machine['gpu'] or machine['processor']}, {count} process{'es' * (count != 1)},"
        f" torch {machine['torch']}"
    )


def interval_words(entry: Mapping[str, float], sign: str = "") -> str:
    """A score of an evaluation with its interval, `0.512 [0.480, 0.544]`; sign `+` for a change."""
    return f"{entry['value']:{sign}.3f} [{entry['low']:{sign}.3f}, {entry['high']:{sign}.3f}]"


def _lines(path: Path) -> Iterator[tuple[bytes, Event]]:
    if not path.exists():
        return
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            return
        try:
            yield line, json.loads(line)
        except ValueError:
            return
