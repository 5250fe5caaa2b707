"""Fill the disk at every point of a checkpoint: a small file system of many sizes, a run until it
stops, a resume.

python benchmarks/reliability/disk_full.py [--sizes 12] [--output FILE.json]

Needs Linux with user name spaces (`unshare -rm`), in which it mounts a tmpfs; says so and skips
where there are none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

INSIDE = "GDRO_RELIABILITY_INSIDE"
PAGE = 4096


def fill(sizes: int, work: Path, *, bisect: bool) -> list[dict[str, Any]]:
    """One row a size of the disk: an even grid, then halvings to the page at which the run fits.

    The grid meets the large files, the halvings the small ones that are written last.
    """
    import chain
    import settings

    setting = replace(settings.VARIANTS[0], steps=4)
    trial = Trial(setting, chain.reference(setting, work), work)
    one = sum(path.stat().st_size for path in (work / "reference" / "model").iterdir())
    one += 2 * (work / "reference" / "model" / "model.safetensors").stat().st_size
    rows = [
        trial.run(int(one * (1.05 + 2.6 * number / sizes)), room=8 * one) for number in range(sizes)
    ]
    low = max((row["size"] for row in rows if row["exit"]), default=0)
    high = min((row["size"] for row in rows if not row["exit"]), default=0)
    while bisect and low and high - low > PAGE:
        rows.append(trial.run((low + high) // 2, room=8 * one))
        low, high = (rows[-1]["size"], high) if rows[-1]["exit"] else (low, rows[-1]["size"])
    return rows


@dataclass
class Trial:
    """Runs of one setting on small disks."""

    setting: Any
    whole: Any
    work: Path
    count: int = 0

    def run(self, size: int, room: int) -> dict[str, Any]:
        """Run until the disk is full, make room, resume."""
        import fingerprint
        from forks import launch

        from gdro.runs import checkpoints

        self.count += 1
        disk = self.work / "disk"
        disk.mkdir(exist_ok=True)
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk))
        run = disk / "run"
        started = launch(
            ["train", *self.setting.arguments, "--set", f"output_dir={run}"],
            self.work / f"full-{self.count}.log",
        )
        code = started.wait()[0]
        message = [line for line in started.text().splitlines() if line.startswith("gdro: ")]
        good = [
            path
            for path in checkpoints.all_checkpoints(run / "checkpoints")
            if checkpoints.fault(path) is None
        ]
        expected = self.whole.checkpoints
        same = all(
            fingerprint.of_checkpoint(path) == expected[checkpoints.step_of(path)] for path in good
        )
        left = sorted(path.name for path in run.rglob("*") if path.is_file())
        _mount("-o", f"remount,size={size + room}", str(disk))
        again = (
            launch(["train", "--resume", str(run)], self.work / f"again-{self.count}.log")
            if code
            else None
        )
        resumed = again is None or again.wait() == [0]
        row = {
            "size": size,
            "exit": code,
            "message": message[-1] if message else None,
            "traceback": "Traceback" in started.text(),
            "whole_checkpoints": [path.name for path in good],
            "checkpoints_as_reference": same,
            "files": len(left),
            "final_as_reference": resumed and fingerprint.of_run(run) == self.whole.run,
        }
        if again is not None and not row["final_as_reference"]:
            row["log"] = again.text()[-1500:]
        print(json.dumps(row), file=sys.stderr, flush=True)
        subprocess.run(["umount", str(disk)], check=True)
        return row


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def good(row: dict[str, Any]) -> bool:
    """Either the run had room, or it stopped with one clear message, lost nothing and went on."""
    stopped = row["exit"] == 2 and row["message"] is not None and not row["traceback"]
    return (
        (row["exit"] == 0 or stopped)
        and row["checkpoints_as_reference"]
        and row["final_as_reference"]
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, default=12)
    parser.add_argument("--no-bisect", action="store_true", help="leave the halvings out")
    parser.add_argument("--output", type=Path, help="also write the rows as JSON")
    chosen = parser.parse_args()
    if INSIDE not in os.environ:
        inside = ["unshare", "-rm", sys.executable, *sys.argv]
        try:
            usable = subprocess.run(
                ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
            )
        except FileNotFoundError:
            usable = None
        if usable is None or usable.returncode:
            print("skipped: no user name spaces here, so no small disk can be made")
            return 0
        return subprocess.run(inside, env=os.environ | {INSIDE: "1"}, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="gdro-full-") as work:
        rows = fill(chosen.sizes, Path(work), bisect=not chosen.no_bisect)
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(rows, indent=1) + "\n")
    stopped = [row for row in rows if row["exit"]]
    print(
        f"{len(rows)} disk sizes; {len(stopped)} runs met a full disk; {sum(map(good, rows))} as"
        " they should be"
    )
    return 0 if all(map(good, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
