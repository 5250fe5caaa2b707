"""What a checkpoint at every step costs: seconds of writing, of sealing, and of the steps
themselves.

python benchmarks/reliability/checkpoint_cost.py [--steps 20] [--output FILE.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from forks import launch, remember_prompts
from rules import events

from gdro.engines.trl import GDROTrainer
from gdro.runs.run import Run


def timed(target: type, name: str, log: Path) -> None:
    """In a child: write the wall and processor seconds of each call of a method."""
    method: Callable[..., Any] = getattr(target, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = method(*arguments, **options)
        line = {
            "method": name,
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
        }
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return result

    setattr(target, name, wrapped)


def measure(steps: int, work: Path) -> dict[str, Any]:
    """Medians over the steps of one run of the default recipe."""
    settings = (
        "save_steps=1",
        "evaluation.prompts=16",
        f"max_steps={steps}",
        f"output_dir={work / 'run'}",
    )
    remember_prompts(())

    def setup() -> None:
        timed(GDROTrainer, "_save_checkpoint", work / "times")
        timed(Run, "on_checkpoint", work / "times")

    arguments = ["train", *(part for one in settings for part in ("--set", one))]
    if launch(arguments, work / "log", setup=setup).wait() != [0]:
        raise RuntimeError((work / "log").read_text())
    rows = [json.loads(line) for line in (work / "times").read_text().splitlines()]
    found: dict[str, Any] = {"steps": steps}
    for name, what in (("_save_checkpoint", "write"), ("on_checkpoint", "seal_and_rotate")):
        for unit in ("wall", "cpu"):
            times = [row[unit] for row in rows if row["method"] == name]
            found[f"{what}_{unit}_ms"] = round(1000 * median(times), 1)
    recorded = events(work / "run" / "metrics.jsonl", "step")
    found["step_wall_ms"] = round(1000 * median(event["seconds"]["step"] for event in recorded), 1)  # type: ignore[index]
    newest = max((work / "run" / "checkpoints").glob("checkpoint-*"))
    found["checkpoint_mib"] = round(
        sum(path.stat().st_size for path in newest.iterdir()) / 2**20, 2
    )
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gdro-cost-") as work:
        figures = measure(chosen.steps, Path(work))
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
