"""Resident memory of one undisturbed run of the soak's settings, every 200 steps.

python benchmarks/reliability/memory.py [--steps 2500]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import soak
from forks import launch, remember_prompts
from processes import resident_mb

EVERY = 200


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2500)
    chosen = parser.parse_args()
    remember_prompts(soak.SETTINGS)
    with tempfile.TemporaryDirectory(prefix="gdro-memory-") as work:
        settings = (f"steps={chosen.steps}", f"output={work}/run", *soak.SETTINGS)
        started = launch(["train", *(part for one in settings for part in ("--set", one))], Path(work) / "log")
        record, due = Path(work) / "run" / "metrics.jsonl", EVERY // 2
        while not started.ended():
            time.sleep(0.2)
            steps = record.read_bytes().count(b'{"event": "step"') if record.exists() else 0
            if steps >= due:
                print(f"{steps} steps: {resident_mb(started.children[0].pid):.1f} MiB", flush=True)
                due += EVERY
        return started.wait()[0]


if __name__ == "__main__":
    sys.exit(main())
