"""Kill runs, resume them, and compare with runs that nobody killed.

python benchmarks/reliability/kill.py [--series NAME ...] [--setting NAME ...] [--short] [--seed 0]
[--output FILE.json]

Prints a Markdown table; exit status 1 when anything differed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import chain
import settings
from chain import Chain, Reference, Tally
from damage import damages
from rules import AfterSeconds, AfterStep, AtOperation, InsideCheckpoint, Rule

from gdro.lab.text import table

Series = Callable[[Chain, Reference, random.Random, int], Tally]


def every_step(run: Chain, whole: Reference, draw: random.Random, trials: int) -> Tally:
    """SIGKILL after every step of the run."""
    return run.go([AfterStep(step) for step in range(1, run.setting.steps + 1)])


def random_moments(run: Chain, whole: Reference, draw: random.Random, trials: int) -> Tally:
    """SIGKILL at moments drawn evenly from the start of a launch to some four steps later."""
    return run.go(
        _until(
            run,
            trials,
            lambda: AfterSeconds(draw.uniform(0.0, whole.start_seconds + whole.four_steps)),
        )
    )


def inside_checkpoints(run: Chain, whole: Reference, draw: random.Random, trials: int) -> Tally:
    """Death at moments drawn evenly over the writing of a checkpoint, inside C and Rust code
    too."""
    return run.go(
        _until(
            run, trials, lambda: InsideCheckpoint(draw.uniform(0.0, 1.2 * whole.save_seconds), 2)
        )
    )


def every_operation(run: Chain, whole: Reference, draw: random.Random, trials: int) -> Tally:
    """Death just before the n-th change to the folder of a new run, for every n until one ends
    without it.

    Its resume dies as well, at a drawn one of its first changes; the next one goes on to the end.
    """
    for number in range(1, trials + 1):
        if run.one(AtOperation(number)):
            break
        if run.one(AtOperation(draw.randint(1, 25))):
            continue
        while not run.one(Rule()):
            pass
    return run.tally


def operations_of_resumes(run: Chain, whole: Reference, draw: random.Random, trials: int) -> Tally:
    """Death just before the first change to the folder after a launch; of its resume, the second;
    and so on."""
    return run.go([AtOperation(number) for number in range(1, trials + 1)])


def damaged(run: Chain, whole: Reference, draw: random.Random, trials: int) -> Tally:
    """After a stop the newest checkpoint is damaged, a file at a time, in three ways; the one
    before must serve."""
    return damages(run, trials)


SERIES: dict[str, tuple[Series, tuple[settings.Setting, ...], int]] = {
    "every step": (every_step, (settings.DEFAULT,), 0),
    "random moments": (random_moments, (settings.DEFAULT,), 100),
    "inside checkpoints": (inside_checkpoints, (settings.VARIANTS[0],), 100),
    "every file operation of a run": (
        every_operation,
        (replace(settings.VARIANTS[0], steps=3),),
        1000,
    ),
    "file operations of resumes": (operations_of_resumes, (settings.VARIANTS[0],), 80),
    "damaged checkpoints": (damaged, (settings.VARIANTS[0],), 1000),
    "variants": (every_step, settings.VARIANTS[1:], 0),
}
SHORT = {"every step": 2, "inside checkpoints": 2, "damaged checkpoints": 2}
"""Series of the short form, on the small setting, and their trials."""


def _until(run: Chain, trials: int, rule: Callable[[], Rule]) -> Iterator[Rule]:
    """Rules until `trials` kills have happened: a run that ends first does not count."""
    first = run.tally.kills
    for _ in count():
        if run.tally.kills - first >= trials:
            return
        yield rule()


def measure(
    names: list[str], only: list[str], seed: int, *, short: bool, work: Path
) -> list[dict[str, Any]]:
    """Every series on every setting it is for, or on those named alone."""
    rows = []
    known: dict[settings.Setting, Reference] = {}
    for name in names:
        series, chosen, trials = SERIES[name]
        if short:
            chosen, trials = (replace(settings.VARIANTS[0], steps=3),), SHORT[name]
        for setting in (one for one in chosen if not only or one.name in only):
            started = time.monotonic()
            place = work / setting.name.replace(" ", "_")
            if setting not in known:
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(parents=True)
                known[setting] = chain.reference(setting, place)
            run = Chain(setting, known[setting], place, tell)
            tally = series(
                run, known[setting], random.Random(f"{seed} {name} {setting.name}"), trials
            )
            row = {"series": name, "steps": setting.steps, **tally.as_row(), "seed": seed}
            rows.append(row | {"seconds": round(time.monotonic() - started)})
            tell(json.dumps(rows[-1]))
    return rows


COLUMNS = {
    "series": "killed",
    "setting": "setting",
    "steps": "steps",
    "kills": "kills",
    "unfinished_checkpoints": "half-written checkpoints",
    "checkpoints_compared": "checkpoints compared",
    "most_steps_repeated": "most steps repeated",
    "wrong": "differences",
}
"""Keys of a row and their titles."""


def tell(text: str) -> None:
    """Progress goes to stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", action="append", choices=sorted(SERIES), help="default: all")
    parser.add_argument(
        "--setting", action="append", default=[], help="only this one of the series' settings"
    )
    parser.add_argument(
        "--short", action="store_true", help="a few kills of a small run, under a minute"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the rows as JSON")
    chosen = parser.parse_args()
    names = chosen.series or list(SHORT if chosen.short else SERIES)
    with tempfile.TemporaryDirectory(prefix="gdro-kill-") as work:
        rows = measure(names, chosen.setting, chosen.seed, short=chosen.short, work=Path(work))
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(rows, indent=1) + "\n")
    print(
        table(list(COLUMNS.values()), [[str(row[key]) for key in COLUMNS] for row in rows]), end=""
    )
    return 1 if any(row["wrong"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
