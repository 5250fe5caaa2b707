"""A run that is killed again and again, compared file by file with one that never was.

A checkpoint is made every step, and after every kill each whole checkpoint must equal, byte for
byte, the one of the uninterrupted run at that step. So every kill is a trial of its own, though the
run goes on from one to the next.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import fingerprint
from forks import Launch, launch, remember_prompts
from rules import Rule, events
from settings import Setting

from gdro.runs import checkpoints

SIGKILL, SIGALRM = -9, -14


@dataclass
class Reference:
    """The uninterrupted run."""

    run: dict[str, str]
    checkpoints: dict[int, dict[str, str]]
    events: list[dict[str, Any]]
    start_seconds: float
    """From the launch to the first step."""
    four_steps: float
    """Seconds of four steps and their checkpoints."""
    save_seconds: float
    """Seconds from a step's line in the record to its checkpoint's."""


@dataclass
class Tally:
    """What a series of kills came to."""

    setting: str
    kills: int = 0
    launches: int = 0
    runs: int = 0
    resumes_from_start: int = 0
    unfinished_checkpoints: int = 0
    checkpoints_compared: int = 0
    most_steps_repeated: int = 0
    wrong: list[str] = field(default_factory=list)

    def as_row(self) -> dict[str, Any]:
        """For the table."""
        return dict(vars(self), wrong=len(self.wrong), first_wrong=self.wrong[:3])


def reference(setting: Setting, work: Path) -> Reference:
    """Run the setting once, whole."""
    remember_prompts(setting.overrides)
    folder = work / "reference"
    log = work / "reference.log"
    log.touch()
    arguments = [
        "train",
        *setting.arguments,
        "--set",
        "save_total_limit=1000",
        "--set",
        f"output_dir={folder}",
    ]
    started = time.monotonic()
    running = launch(arguments, log, processes=setting.processes)
    seen = _times(running, folder / "metrics.jsonl", started)
    codes = running.wait()
    if codes != [0] * setting.processes:
        raise RuntimeError(
            f"{setting.name}: the uninterrupted run failed ({codes}):\n{log.read_text()[-3000:]}"
        )
    found = checkpoints.all_checkpoints(folder / "checkpoints")
    by_step = {checkpoints.step_of(path): fingerprint.of_checkpoint(path) for path in found}
    steps = range(2, setting.steps + 1)
    whole = Reference(
        fingerprint.of_run(folder),
        by_step,
        fingerprint.comparable(folder / "metrics.jsonl"),
        start_seconds=seen["step", 1],
        four_steps=4 * (seen["checkpoint", setting.steps] - seen["step", 1]) / setting.steps,
        save_seconds=median(seen["checkpoint", step] - seen["step", step] for step in steps),
    )
    shutil.rmtree(folder / "checkpoints")
    return whole


def _times(running: Launch, record: Path, started: float) -> dict[tuple[str, int], float]:
    """Seconds from the start at which each step and checkpoint was seen in the record."""
    seen: dict[tuple[str, int], float] = {}
    while True:
        over = running.ended()
        for kind in ("step", "checkpoint"):
            for event in events(record, kind):
                seen.setdefault((kind, int(str(event["step"]))), time.monotonic() - started)
        if over:
            return seen
        time.sleep(0.005)


class Chain:
    """Runs of one setting under a list of rules; a run that ends is compared, and the next one
    started."""

    def __init__(
        self, setting: Setting, whole: Reference, work: Path, tell: Callable[[str], None]
    ) -> None:
        self.setting, self.whole, self.work, self.tell = setting, whole, work, tell
        self.run = work / "run"
        self.tally = Tally(setting.name)
        self._done = 0

    def go(self, rules: Iterator[Rule] | list[Rule]) -> Tally:
        """Every rule in turn, then on to the end of the run."""
        shutil.rmtree(self.run, ignore_errors=True)
        for rule in rules:
            self.one(rule)
        while not self.one(Rule()):
            pass
        return self.tally

    def one(self, rule: Rule) -> bool:
        """Start or resume under a rule and check what it leaves; True when the run came to its
        end."""
        self.tally.launches += 1
        started = self.start(rule)
        rule.watch(started, self.run)
        codes = [child.wait() for child in started.children]
        self._check_start(started, rule)
        if all(code == 0 for code in codes):
            self._finish(rule)
            return True
        self.tally.kills += 1
        if not all(code in (0, SIGKILL, SIGALRM) for code in codes):
            self.wrong(f"{rule.name}: it ended with {codes}: {started.text()[-1500:]}")
        self._inspect(rule)
        if not ((self.run / "report.html").is_file() and (self.run / "model").is_dir()):
            return False
        self._finish(rule)  # it died between its report and its exit: nothing is left to resume
        return True

    def start(self, rule: Rule) -> Launch:
        """Resume where there is a run, else start one."""
        if (self.run / "config.yaml").exists():
            arguments = ["train", "--resume", str(self.run)]
        else:
            arguments = ["train", *self.setting.arguments, "--set", f"output_dir={self.run}"]
        log = self.work / f"launch-{self.tally.launches:04d}.log"
        log.unlink(missing_ok=True)
        log.touch()
        return launch(arguments, log, processes=self.setting.processes, setup=rule.setup(self.run))

    def _check_start(self, started: Launch, rule: Rule) -> None:
        """At most one step done before is done again."""
        if not started.is_resume or (at := started.resumed_from()) is None:
            return
        self.tally.resumes_from_start += at == 0
        self.tally.most_steps_repeated = max(
            self.tally.most_steps_repeated, self._done - at - rule.lost
        )
        if self._done - at > 1 + rule.lost:
            self.wrong(f"{rule.name}: {self._done} steps were done, it went on from {at}")

    def _inspect(self, rule: Rule) -> None:
        """Every whole checkpoint equals the reference's, and the record is a beginning of the
        reference's."""
        self._done = max(
            (int(str(e["step"])) for e in events(self.run / "metrics.jsonl", "step")), default=0
        )
        for folder in checkpoints.all_checkpoints(self.run / "checkpoints"):
            if not (folder / checkpoints.SEAL).exists():
                self.tally.unfinished_checkpoints += 1
                continue
            if (wrong := checkpoints.fault(folder)) is not None:
                self.wrong(f"{rule.name}: sealed {folder.name}: {wrong}")
            self.tally.checkpoints_compared += 1
            self._compare(
                rule, folder.name, fingerprint.of_checkpoint(folder), self._expected(folder)
            )

    def _expected(self, folder: Path) -> dict[str, str]:
        return self.whole.checkpoints[checkpoints.step_of(folder)]

    def _finish(self, rule: Rule) -> None:
        self.tally.runs += 1
        self._compare(rule, "the finished run", fingerprint.of_run(self.run), self.whole.run)
        record = fingerprint.comparable(self.run / "metrics.jsonl")
        for ours, theirs in zip(record, self.whole.events, strict=False):
            if ours != theirs:
                self.wrong(
                    f"{rule.name}: event {json.dumps(ours)[:400]} is not {json.dumps(theirs)[:400]}"
                )
                break
        for aside in (self.run / "checkpoints").glob(f"{checkpoints.DAMAGED}*"):
            shutil.rmtree(aside)
        left = [
            path.name for path in self.run.rglob("*") if path.name.endswith((".tmp", ".partial"))
        ]
        left += [path.name for path in self.run.rglob(f"{checkpoints.REMOVED}*")]
        if left:
            self.wrong(f"{rule.name}: left over in the finished run: {left}")
        shutil.rmtree(self.run)
        self._done = 0

    def _compare(self, rule: Rule, what: str, ours: dict[str, str], theirs: dict[str, str]) -> None:
        unlike = sorted(
            name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
        )
        if unlike:
            self.wrong(f"{rule.name}: {what} differs in {', '.join(unlike)}")

    def wrong(self, text: str) -> None:
        """Note something that should not be."""
        self.tally.wrong.append(text)
        self.tell(f"WRONG {self.setting.name}: {text}")
