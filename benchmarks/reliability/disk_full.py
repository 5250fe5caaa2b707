"""Fill the disk at every point of a checkpoint: a small file system of many sizes, a run until it stops, a resume.

python benchmarks/reliability/disk_full.py [--sizes 12] [--output FILE.json]

Needs Linux with user name spaces (`unshare -rm`), in which it mounts a tmpfs; says so and skips where there are none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

INSIDE = "GDRO_RELIABILITY_INSIDE"
MIB = 2**20


def fill(sizes: int, work: Path) -> list[dict[str, Any]]:
    """One row a size of the file system, from one that holds two checkpoints to one that holds three and the model."""
    import chain
    import fingerprint
    import settings
    from forks import launch

    from gdro.runs import checkpoints

    setting = replace(settings.VARIANTS[0], steps=4)
    whole = chain.reference(setting, work)
    one = sum(path.stat().st_size for path in (work / "reference" / "model").iterdir())
    one += 2 * (work / "reference" / "model" / "model.safetensors").stat().st_size
    disk = work / "disk"
    disk.mkdir()
    rows = []
    for number in range(sizes):
        size = int(one * (1.05 + 2.6 * number / sizes))
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk))
        run = disk / "run"
        log = work / f"full-{number}.log"
        started = launch(["train", *setting.arguments, "--set", f"output={run}"], log)
        code = started.wait()[0]
        message = [line for line in started.text().splitlines() if line.startswith("gdro: ")]
        good = [path for path in checkpoints.all_checkpoints(run / "checkpoints") if checkpoints.fault(path) is None]
        same = all(fingerprint.of_checkpoint(path) == whole.checkpoints[checkpoints.step_of(path)] for path in good)
        _mount("-o", f"remount,size={size + 8 * one}", str(disk))
        again = launch(["train", "--resume", str(run)], work / f"again-{number}.log") if code else None
        rows.append(
            {
                "size_mib": round(size / MIB, 2),
                "exit": code,
                "message": message[-1] if message else None,
                "traceback": "Traceback" in started.text(),
                "whole_checkpoints": [path.name for path in good],
                "checkpoints_as_reference": same,
                "resumed": again is None or again.wait() == [0],
            }
        )
        finished = rows[-1]["resumed"] and fingerprint.of_run(run) == whole.run
        rows[-1]["final_as_reference"] = finished
        if not finished and again is not None:
            rows[-1]["log"] = again.text()[-1500:]
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        subprocess.run(["umount", str(disk)], check=True)
    return rows


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def good(row: dict[str, Any]) -> bool:
    """Either the run had room, or it stopped with one clear message, lost nothing and went on."""
    stopped = row["exit"] == 2 and row["message"] is not None and not row["traceback"]
    return (row["exit"] == 0 or stopped) and row["checkpoints_as_reference"] and row["final_as_reference"]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, default=12)
    parser.add_argument("--output", type=Path, help="also write the rows as JSON")
    chosen = parser.parse_args()
    if INSIDE not in os.environ:
        inside = ["unshare", "-rm", sys.executable, *sys.argv]
        try:
            usable = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
        except FileNotFoundError:
            usable = None
        if usable is None or usable.returncode:
            print("skipped: no user name spaces here, so no small disk can be made")
            return 0
        return subprocess.run(inside, env=os.environ | {INSIDE: "1"}, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="gdro-full-") as work:
        rows = fill(chosen.sizes, Path(work))
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(rows, indent=1) + "\n")
    stopped = [row for row in rows if row["exit"]]
    print(f"{len(rows)} disk sizes; {len(stopped)} runs met a full disk; {sum(map(good, rows))} as they should be")
    return 0 if all(map(good, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
