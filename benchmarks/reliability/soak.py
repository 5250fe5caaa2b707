"""A long run under faults: does anything grow?

python benchmarks/reliability/soak.py [--steps 2000] [--seed 0] [--output FILE.json]

The embedded model, default recipe, small batch. The first half is one process, to see trends; the
second half is stopped and resumed at random. All along: verifier workers are killed, and hostile
completions, the whole corpus of tests/verify/hostile.py, replace sampled ones.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "verify"))

from damage import WAYS, harm
from forks import Launch, launch, remember_prompts
from hostile import HOSTILE
from processes import children, descendants, handles, resident_mb

import gdro.runs.rewards
from gdro.runs import checkpoints

SETTINGS = (
    "prompts_per_step=8",
    "evaluation.prompts=32",
    "save_steps=20",
    "verifier.workers=2",
    "max_completion_length=16",
)
HOSTILE_SHARE = 0.02
WORKER_KILL_SECONDS = 5.0
STOPS = 12


@dataclass
class Sample:
    """The state of the run at a moment; `step` is the newest in the record."""

    step: int
    launch: int
    trainer_mb: float
    tree_mb: float
    processes: int
    handles: int
    files: int


@dataclass
class Soak:
    """A run and what is done to it."""

    run: Path
    work: Path
    steps: int
    draw: random.Random
    samples: list[Sample] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    launches: int = 0

    def go(self) -> None:
        """From the first launch to the end of the run."""
        stops = sorted(
            self.draw.sample(range(self.steps // 2, self.steps - 20), min(STOPS, self.steps // 50))
        )
        while True:
            started = self._start()
            stop = next((step for step in stops if step > self._step() + 1), None)
            number = self.draw.choice([signal.SIGKILL, signal.SIGTERM])
            stopped = self._live(started, stop, number)
            codes = started.wait()
            if not stopped and codes != [0]:
                raise RuntimeError(
                    f"the run ended by itself with {codes}: {started.text()[-3000:]}"
                )
            if stop is None or self._finished():
                return
            stops.remove(stop)
            self.faults[number.name] += 1
            if self.draw.random() < 0.5:
                self._damage()

    def _start(self) -> Launch:
        self.launches += 1
        arguments = ["train", "--resume", str(self.run)]
        if self.launches == 1:
            sets = (f"max_steps={self.steps}", f"output_dir={self.run}", *SETTINGS)
            arguments = ["train", *(part for one in sets for part in ("--set", one))]
        seed = self.draw.randrange(2**32)
        return launch(
            arguments, self.work / f"launch-{self.launches}.log", setup=lambda: make_hostile(seed)
        )

    def _live(self, started: Launch, stop: int | None, number: signal.Signals) -> bool:
        """Sample every second and kill workers, until the stop is due (True) or the run ends by
        itself."""
        trainer, next_kill = started.children[0].pid, time.monotonic() + WORKER_KILL_SECONDS
        while not started.ended():
            time.sleep(1.0)
            tree = descendants(trainer)
            if (step := self._step()) and tree:
                files = sum(1 for path in self.run.rglob("*") if path.is_file())
                mb = [resident_mb(pid) for pid in tree]
                self.samples.append(
                    Sample(
                        step,
                        self.launches,
                        resident_mb(trainer),
                        sum(mb),
                        len(tree),
                        handles(trainer),
                        files,
                    )
                )
            if time.monotonic() > next_kill and step:
                self.faults["verifier worker killed"] += kill_worker(trainer, self.draw)
                next_kill = time.monotonic() + self.draw.uniform(0.0, 2 * WORKER_KILL_SECONDS)
            if stop is not None and step >= stop:
                started.kill(number)
                return True
        return False

    def _damage(self) -> None:
        newest = next(
            (path for path in checkpoints.all_checkpoints(self.run / "checkpoints")), None
        )
        if newest is not None:
            victim = self.draw.choice(sorted(path for path in newest.iterdir() if path.is_file()))
            harm(victim, self.draw.choice(WAYS))
            self.faults["newest checkpoint damaged"] += 1

    def _step(self) -> int:
        record = self.run / "metrics.jsonl"
        if not record.exists():
            return 0
        with record.open("rb") as file:
            file.seek(max(0, record.stat().st_size - 50_000))
            steps = [
                json.loads(line)["step"]
                for line in file.read().split(b"\n")[:-1]
                if line[:17] == b'{"event": "step",'
            ]
        return max(steps, default=0)

    def _finished(self) -> bool:
        return (self.run / "report.html").exists()


def kill_worker(trainer: int, draw: random.Random) -> int:
    """SIGKILL to one of the verifier's workers; 1 if there was one, else 0.

    They are the grandchildren; their parent, the nursery, has none while it starts.
    """
    workers = sorted(set(descendants(trainer)) - {trainer} - set(children(trainer)))
    if workers:
        os.kill(draw.choice(workers), signal.SIGKILL)
    return min(1, len(workers))


def make_hostile(seed: int) -> None:
    """In a child: replace a share of the completions before they are scored."""
    draw = random.Random(seed)
    score = gdro.runs.rewards.VerifierReward.__call__

    def scored(self: Any, *, completions: list[Any], **columns: Any) -> list[float]:
        texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
        texts = [
            draw.choice(HOSTILE).completion if draw.random() < HOSTILE_SHARE else text
            for text in texts
        ]
        return score(self, completions=texts, **columns)

    gdro.runs.rewards.VerifierReward.__call__ = scored  # type: ignore[method-assign]


def verdict(soak: Soak) -> dict[str, Any]:
    """Figures of the whole."""
    events = [json.loads(line) for line in (soak.run / "metrics.jsonl").read_text().splitlines()]
    steps = [event["step"] for event in events if event["event"] == "step"]
    first = [
        sample for sample in soak.samples if sample.launch == 1 and sample.step >= soak.steps // 20
    ]
    later = [sample for sample in soak.samples if sample.launch > 1]
    causes: Counter[str] = Counter()
    for event in events:
        causes.update(event.get("verifier", {}))
    return {
        "steps": len(steps),
        "every_step_once": steps == list(range(1, soak.steps + 1)),
        "ended": events[-1]["event"] == "end",
        "launches": soak.launches,
        "resumes_recorded": sum(event["event"] == "resume" for event in events),
        "faults": dict(soak.faults),
        "answers_by_cause": dict(causes),
        "one_process": {
            "from_step": first[0].step,
            "to_step": first[-1].step,
            "trainer_kib_a_step": round(1024 * slope(first, "trainer_mb"), 3),
            **{
                name: ends(first, name)
                for name in ("trainer_mb", "tree_mb", "processes", "handles", "files")
            },
        },
        "after_resumes": {
            name: ends(later, name) for name in ("trainer_mb", "processes", "handles", "files")
        },
        "left_running": len(descendants(os.getpid())) - 1,
        "left_over_files": sorted(path.name for path in soak.run.rglob("*.tmp")),
    }


def slope(samples: list[Sample], name: str) -> float:
    """Least-squares growth a step."""
    return float(np.polyfit([s.step for s in samples], [getattr(s, name) for s in samples], 1)[0])


def ends(samples: list[Sample], name: str) -> dict[str, float]:
    """Medians of the first and the last fifth, and the greatest."""
    values = [getattr(sample, name) for sample in samples]
    fifth = max(1, len(values) // 5)
    return {
        "first": round(median(values[:fifth]), 1),
        "last": round(median(values[-fifth:]), 1),
        "most": round(max(values), 1),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    chosen = parser.parse_args()
    remember_prompts(SETTINGS)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gdro-soak-") as work:
        soak = Soak(Path(work) / "run", Path(work), chosen.steps, random.Random(chosen.seed))
        soak.go()
        time.sleep(3.0)
        figures = verdict(soak) | {
            "seed": chosen.seed,
            "seconds": round(time.monotonic() - started),
        }
    text = json.dumps(figures, indent=1)
    if chosen.output is not None:
        chosen.output.write_text(text + "\n")
    print(text)
    return (
        0 if figures["every_step_once"] and figures["ended"] and not figures["left_running"] else 1
    )


if __name__ == "__main__":
    sys.exit(main())
