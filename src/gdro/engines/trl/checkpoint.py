"""What a checkpoint holds beside TRL's files, so that a resumed run continues bit for bit.

`gdro_state.npz` (one for the run) is the controller's state and the trainer's place; `gdro_buffer_rank<r>.safetensors`
(one a process, only when the checkpoint falls between two updates on the same rollouts) is the rollouts not yet used.
Neither is a pickle.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from gdro.core.errors import StateError
from gdro.core.state import load_state, save_state
from gdro.engines.trl.losses import LossLedger

STATE_FILE = "gdro_state.npz"
FORMAT = 1


@dataclass(slots=True)
class Place:
    """Where the trainer stands.

    Attributes:
        micro_step: forward-backward passes done (TRL's `_step`, which TRL itself does not restore).
        rollouts_total: rollouts generated in the run, over all processes.
        tokens_total: completion tokens generated in the run, over all processes.
        processes: number of processes.
        buffered: whether rollouts not yet used lie in the buffer files.
    """

    micro_step: int = 0
    rollouts_total: int = 0
    tokens_total: int = 0
    processes: int = 1
    buffered: bool = False


def buffer_file(folder: Path, process: int) -> Path:
    """The buffer file of a process."""
    return folder / f"gdro_buffer_rank{process}.safetensors"


def save_place(folder: Path, place: Place, controller_state: dict[str, Any]) -> None:
    """Write `gdro_state.npz`, atomically."""
    state = {"format": FORMAT, "place": asdict(place), "controller": controller_state}
    save_state(folder / STATE_FILE, state)


def load_place(folder: Path, processes: int) -> tuple[Place, dict[str, Any]]:
    """Read `gdro_state.npz` back.

    Raises:
        StateError: it is missing, damaged, of another format, or of a run with another number of processes whose
            rollouts were only partly used.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise StateError(
            f"{path} is missing: the checkpoint was not written by GDROTrainer or is incomplete. Resume from another "
            "checkpoint, or start a new run from its model"
        )
    state = load_state(path)
    if state.get("format") != FORMAT:
        raise StateError(f"{path} has format {state.get('format')!r}; this version reads {FORMAT}")
    place = Place(**state["place"])
    if place.buffered and place.processes != processes:
        raise StateError(
            f"{path} was written by {place.processes} processes between two updates on the same rollouts; resume with "
            f"{place.processes} processes, not {processes}"
        )
    return place, state["controller"]


def save_buffer(path: Path, batches: list[dict[str, Any]], ledger: LossLedger) -> None:
    """Write the buffered micro-batches and the losses seen so far, through a temporary file."""
    tensors: dict[str, torch.Tensor] = {}
    for index, batch in enumerate(batches):
        for key, value in batch.items():
            if value is None:
                continue
            if not isinstance(value, torch.Tensor):
                raise StateError(
                    f"{path}: the buffered field {key!r} is not a tensor and cannot be saved; choose save_steps as a "
                    "multiple of the updates made on one generation batch"
                )
            tensors[f"{index}/{key}"] = value.detach().contiguous().cpu().clone()
    tensors["ledger/sums"] = torch.from_numpy(ledger.sums.copy())
    tensors["ledger/rows"] = torch.from_numpy(ledger.rows.copy())
    # one entry: the file holds several in no fixed order, and equal states should be equal bytes
    metadata = {"buffer": json.dumps({"batches": len(batches), "prompt_ids": list(ledger.prompt_ids)})}
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path)


def load_buffer(path: Path, ledger: LossLedger, device: torch.device) -> list[dict[str, Any]]:
    """Read buffered micro-batches back and put the losses seen so far into the ledger.

    Raises:
        StateError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = json.loads(stored.metadata()["buffer"])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
    except (FileNotFoundError, SafetensorError) as error:
        raise StateError(f"{path} is missing or damaged ({error}); resume from another checkpoint") from error
    ledger.start(tuple(metadata["prompt_ids"]))
    ledger.sums = np.asarray(tensors.pop("ledger/sums").numpy())
    ledger.rows = np.asarray(tensors.pop("ledger/rows").numpy())
    batches: list[dict[str, Any]] = [{} for _ in range(metadata["batches"])]
    for name, tensor in tensors.items():
        index, key = name.split("/", 1)
        batches[int(index)][key] = tensor.to(device)
    return batches
