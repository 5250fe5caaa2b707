"""Memory of one long process of a run, read inside it every 100 steps: what grows, and what it is
made of.

python benchmarks/reliability/memory.py [--steps 2500] [--faults] [--output FILE.json]

The soak's settings, undisturbed, or with its faults but for the stops (hostile completions,
verifier workers killed). Set MALLOC_ARENA_MAX or MALLOC_TRIM_THRESHOLD_ in the environment to see
what glibc's allocator has to do with it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import soak
from forks import launch, remember_prompts
from processes import descendants, resident_mb

import gdro.runs.run

EVERY = 100
_STATUS = {"resident": "VmRSS", "anonymous": "RssAnon", "file_backed": "RssFile", "most": "VmHWM"}
COLUMNS = ("step", *_STATUS, "malloc_used", "malloc_free", "python_blocks", "seconds", "verifier")


class Mallinfo(ctypes.Structure):
    """glibc's `struct mallinfo2`: ten sizes in the order of malloc.h, of which the fifth, eighth
    and ninth are used."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks")),
        *((name, ctypes.c_size_t) for name in ("hblkhd", "usmblks", "fsmblks")),
        *((name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost")),
    ]


def reading() -> dict[str, float]:
    """Of this process, in MiB: resident memory and its kinds, malloc's bytes in use and free;
    Python's small blocks."""
    status = dict(
        re.findall(r"^(\w+):\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    )
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Mallinfo
    malloc = libc.mallinfo2()
    return {name: round(int(status[key]) / 1024, 2) for name, key in _STATUS.items()} | {
        "malloc_used": round((malloc.uordblks + malloc.hblkhd) / 2**20, 2),
        "malloc_free": round(malloc.fordblks / 2**20, 2),
        "python_blocks": sys.getallocatedblocks(),
    }


def read_inside(path: Path) -> None:
    """In a child: append a reading to the file after every EVERY-th step."""
    on_step, started = gdro.runs.run.Run.on_step, time.monotonic()

    def read(self: Any, step: dict[str, Any]) -> None:
        on_step(self, step)
        if step["step"] % EVERY == 0:
            line = {"step": step["step"], **reading(), "seconds": round(time.monotonic() - started)}
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")

    gdro.runs.run.Run.on_step = read  # type: ignore[method-assign]


def watch(
    steps: int, faults: bool, seed: int
) -> tuple[list[dict[str, float]], dict[str, int], int]:
    """Readings, faults by kind and exit status of one run; each reading is printed as it comes."""
    draw, readings, counted = random.Random(seed), list[dict[str, float]](), Counter[str]()
    hostile_seed = draw.randrange(2**32)
    with tempfile.TemporaryDirectory(prefix="gdro-memory-") as work:
        path = Path(work) / "readings.jsonl"
        path.touch()

        def setup() -> None:
            read_inside(path)
            if faults:
                soak.make_hostile(hostile_seed)

        settings = (f"max_steps={steps}", f"output_dir={work}/run", *soak.SETTINGS)
        started = launch(
            ["train", *(part for one in settings for part in ("--set", one))],
            Path(work) / "log",
            setup=setup,
        )
        trainer, next_kill = started.children[0].pid, time.monotonic() + soak.WORKER_KILL_SECONDS
        while not started.ended():
            time.sleep(0.5)
            for line in path.read_text().splitlines()[len(readings) :]:
                tree = descendants(trainer)
                readings.append(
                    json.loads(line) | {"verifier": round(sum(map(resident_mb, tree[1:])), 1)}
                )
                print(" ".join(f"{readings[-1][name]:>13}" for name in COLUMNS), flush=True)
            if faults and readings and time.monotonic() > next_kill:
                counted["verifier worker killed"] += soak.kill_worker(trainer, draw)
                next_kill = time.monotonic() + draw.uniform(0.0, 2 * soak.WORKER_KILL_SECONDS)
        code = started.wait()[0]
        if code:
            print(started.text()[-3000:], file=sys.stderr)
        record = Path(work) / "run" / "metrics.jsonl"
        for event in map(json.loads, record.read_text().splitlines() if record.exists() else ()):
            counted.update(event.get("verifier", {}))
    return readings, dict(counted), code


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument(
        "--faults", action="store_true", help="hostile completions, verifier workers killed"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    chosen = parser.parse_args()
    remember_prompts(soak.SETTINGS)
    print(" ".join(f"{name:>13}" for name in COLUMNS), flush=True)
    readings, counted, code = watch(chosen.steps, chosen.faults, chosen.seed)
    print(json.dumps(counted))
    allocator = {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")}
    if chosen.output is not None:
        figures = {
            "readings": readings,
            "counted": counted,
            "faults": chosen.faults,
            "allocator": allocator,
        }
        chosen.output.write_text(json.dumps(figures, indent=1) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
