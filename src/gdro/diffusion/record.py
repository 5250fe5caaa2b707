"""What a run leaves on disk while it goes: its record, and checkpoints that are whole or not there.

RUN/config.yaml             every setting
RUN/metrics.jsonl           one event a line; NaN becomes null
RUN/checkpoints/step-N.pt   everything a resume needs, and step-N.sha256, written after it
RUN/samples/step-N.safetensors  the images of an evaluation
RUN/pytorch_lora_weights.safetensors  the adapters, for `pipeline.load_lora_weights(RUN)`
RUN/report.html
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from gdro.core.errors import DiffusionError
from gdro.io import to_json, write_atomic

Event = dict[str, Any]
ROOT = Path("runs")


@dataclass(frozen=True, slots=True)
class Folder:
    """Names of everything in a run's folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings."""
        return self.path / "config.yaml"

    @property
    def record(self) -> Path:
        """The record."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def samples(self, step: int) -> Path:
        """The images of an evaluation."""
        return self.path / "samples" / f"step-{step:06d}.safetensors"

    @classmethod
    def new(cls, output: str | None, name: str) -> Folder:
        """Make the folder of a new run.

        Raises:
            DiffusionError: it is not empty; a run never writes over another.
        """
        if output is None:
            ROOT.mkdir(exist_ok=True)
            numbers = (ROOT / f"{name}-{number:03d}" for number in range(1, 100_000))
            path = next(path for path in numbers if not path.exists())
        else:
            path = Path(output)
            if path.exists() and any(path.iterdir()):
                raise DiffusionError(
                    f"{path} is not empty; name another output_dir, or go on with that run: "
                    f"gdro diffusion --resume {path}"
                )
        path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def old(cls, path: str | Path) -> Folder:
        """The folder of a run to go on with.

        Raises:
            DiffusionError: it holds none.
        """
        folder = cls(Path(path))
        if not folder.config.is_file():
            raise DiffusionError(
                f"{path} holds no run (no config.yaml); give the folder that gdro diffusion named"
            )
        return folder


def read_record(path: Path) -> list[Event]:
    """The events; a last line half written does not count."""
    if not path.is_file():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def cut_back(path: Path, step: int) -> list[Event]:
    """Keep the events up to a step, so that a resumed run's record is that of one that never
    stopped.

    Events of a `step` above it go, and so does the end; `start` and notes have none and stay.
    """
    kept = [
        event
        for event in read_record(path)
        if event.get("step", 0) <= step and event["event"] != "end"
    ]
    write_atomic(path, "".join(to_json(event) + "\n" for event in kept))
    return kept


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> None:
    """Write the state of a step, seal it with its digest, then remove all but the `keep` newest."""
    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = folder / f"step-{step:06d}.pt"
    write_atomic(path, buffer.getvalue())
    write_atomic(path.with_suffix(".sha256"), sha256(buffer.getvalue()).hexdigest())
    for old in sorted(folder.glob("step-*.pt"), reverse=True)[keep:]:
        old.with_suffix(".sha256").unlink(missing_ok=True)
        old.unlink()


def newest_checkpoint(
    folder: Path, tell: Callable[[str], None]
) -> tuple[int, dict[str, Any]] | None:
    """The newest checkpoint that is whole, as (step, state); None if there is none at all.

    Raises:
        DiffusionError: there are sealed ones, and every one is damaged.
    """
    damaged = []
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        seal, blob = path.with_suffix(".sha256"), path.read_bytes()
        if not seal.is_file():
            continue  # never finished
        if seal.read_text() == sha256(blob).hexdigest():
            try:
                state = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                raise DiffusionError(
                    f"{path} holds more than plain data; do not trust this run, start anew"
                ) from error
            return int(path.stem.removeprefix("step-")), state
        damaged.append(path.name)
        tell(f"checkpoint {path} is damaged; trying the one before it")
    if damaged:
        raise DiffusionError(
            f"every checkpoint in {folder} is damaged ({', '.join(damaged)}); start the run anew"
        )
    return None
