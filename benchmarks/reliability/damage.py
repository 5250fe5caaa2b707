"""Damage to the newest checkpoint of a stopped run: every file cut short, one bit flipped, or
gone."""

from __future__ import annotations

import re
from pathlib import Path

from chain import Chain, Tally
from rules import AfterStep, Rule

from gdro.runs import checkpoints

WAYS = ("cut short", "one bit flipped", "missing")


def harm(path: Path, way: str) -> None:
    """Damage a file."""
    content = bytearray(path.read_bytes())
    if way == "missing":
        path.unlink()
    elif way == "cut short":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def damages(run: Chain, trials: int) -> Tally:
    """Stop after two more sealed checkpoints, damage the newest, resume; over every file and way,
    `trials` at most."""
    done = 0
    names: list[str] = []
    while not names or done < min(trials, len(names) * len(WAYS)):
        newest = _stopped_with_two(run)
        names = names or sorted(path.name for path in newest.iterdir())
        name, way = names[done // len(WAYS)], WAYS[done % len(WAYS)]
        harm(newest / name, way)
        run.one(Watched(run, checkpoints.step_of(newest), name, way))
        done += 1
    while not run.one(Rule()):
        pass
    return run.tally


def _stopped_with_two(run: Chain) -> Path:
    """The newest of at least two whole checkpoints of a run that was killed; made where there is
    none."""
    while True:
        found = checkpoints.all_checkpoints(run.run / "checkpoints")
        found = [folder for folder in found if checkpoints.fault(folder) is None]
        newest = checkpoints.step_of(found[0]) if found else 0
        if len(found) >= 2 and newest < run.setting.steps:
            return found[0]
        run.one(AfterStep(max(newest + 1, 2), "checkpoint"))


class Watched(AfterStep):
    """Resumes, must say what is damaged and go on from the checkpoint before, and is killed two
    checkpoints later."""

    lost = 1

    def __init__(self, run: Chain, damaged: int, file: str, way: str) -> None:
        super().__init__(min(damaged + 1, run.setting.steps), "checkpoint")
        self.run, self.damaged, self.file, self.way = run, damaged, file, way

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.file} {self.way}"

    def watch(self, launch, run) -> None:  # type: ignore[no-untyped-def]
        super().watch(launch, run)
        text = " ".join(launch.text().split())
        told = re.search(rf"checkpoint-{self.damaged} cannot be used: (.*?)\. Moved", text)
        if told is None or not self._is_named(told[1]):
            self.run.wrong(f"{self.name}: the log does not say so: {text[-300:]}")
        if launch.resumed_from() != self.damaged - 1:
            self.run.wrong(
                f"{self.name}: it went on from {launch.resumed_from()}, not {self.damaged - 1}"
            )

    def _is_named(self, told: str) -> bool:
        """The file is named; a damaged seal may also lay the blame on a file whose checksum it
        holds."""
        return self.file in told or (
            self.file == checkpoints.SEAL and ("never finished" in told or "damaged" in told)
        )
