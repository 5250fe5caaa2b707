"""sha256 of everything that an interrupted run must have in common with one that never stopped."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

UNLIKE = {"time", "seconds", "peak_memory_mb", "machine", "commit"}
"""Fields of the record that no two runs share."""

NOT_STATE = {"seal.json", "training_args.bin", "README.md"}
"""Files that name the folder or the machine, and that no resume reads."""


def of_file(path: Path) -> str:
    """Of a file's bytes."""
    return sha256(path.read_bytes()).hexdigest()


def of_checkpoint(folder: Path) -> dict[str, str]:
    """Of each file with state: weights, optimiser, schedule, random generators, controller,
    place."""
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_STATE
    )
    return {str(path.relative_to(folder)): of_file(path) for path in files}


def of_record(path: Path) -> str:
    """Of every event, in order, without times and without what says that the run was resumed."""
    return sha256(
        "\n".join(json.dumps(event, sort_keys=True) for event in comparable(path)).encode()
    ).hexdigest()


def comparable(path: Path) -> list[dict[str, Any]]:
    """The events of a record as two equal runs share them."""
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [_without(event) for event in events if event["event"] != "resume"]


def of_run(folder: Path) -> dict[str, str]:
    """Of a finished run: the model, its newest checkpoint, the record and the evaluations."""
    newest = max(
        (folder / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])
    )
    parts = {f"checkpoint/{name}": digest for name, digest in of_checkpoint(newest).items()}
    parts |= {f"model/{name}": digest for name, digest in of_checkpoint(folder / "model").items()}
    parts |= {
        f"evaluations/{path.name}": of_file(path)
        for path in sorted((folder / "evaluations").iterdir())
    }
    return parts | {"newest": newest.name, "metrics": of_record(folder / "metrics.jsonl")}


def _without(event: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in event.items() if key not in UNLIKE}
    if "config" in kept:
        apart = ("output_dir", "save_steps", "save_total_limit")
        kept["config"] = {key: value for key, value in kept["config"].items() if key not in apart}
    return kept
