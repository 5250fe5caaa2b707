"""Checkpoints that are whole or not there: a seal with the checksum of every file, written last.

A folder `checkpoint-N` without a matching seal is one that an interruption, a full disk or a bad
block left behind. It is never resumed from; the one before it is. Old ones are removed only after
the seal of a newer one is on disk.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from safetensors import SafetensorError

from gdro.core.errors import RunError
from gdro.io import write_atomic

SEAL = "seal.json"
PREFIX = "checkpoint-"
DAMAGED = "damaged-"
REMOVED = ".removed-"
FAILED_WRITE = (
    "No space left",
    "os error 28",
    "quota exceeded",
    "inline_container.cc",
    "PytorchStreamWriter",
)
"""What safetensors and torch.save say of a disk that takes no more; the latter does not give the
reason."""


def seal(folder: Path) -> None:
    """Flush every file of a finished checkpoint to disk and write its seal, atomically."""
    files = {str(path.relative_to(folder)): _digest(path, flush=True) for path in _files(folder)}
    write_atomic(folder / SEAL, json.dumps({"sha256": files}, indent=1, sort_keys=True))
    _flush_folder(folder)
    _flush_folder(folder.parent)


@contextmanager
def guarded(run: Path) -> Iterator[None]:
    """Give the errors of reading and writing checkpoints one form, and say how to go on.

    Raises:
        RunError: instead of safetensors' and torch.save's own errors of a full disk, and of
            torch.load's refusal of a file with more than plain data in it (it loads with
            `weights_only`, so nothing in the file has run).
    """
    try:
        yield
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{run}: a file of the checkpoint holds more than plain data; it was refused and"
            " nothing in it was run. Do not trust this run: start anew"
        ) from error
    except (SafetensorError, RuntimeError) as error:
        if "deserializing" in str(error):
            raise RunError(f"{run}: a safetensors file is damaged ({error}); start anew") from error
        if not any(mark in str(error) for mark in FAILED_WRITE):
            raise
        free = shutil.disk_usage(run).free / 2**20
        raise RunError(
            f"{run}: a file could not be written, {free:.1f} MiB are free there"
            f" ({str(error).splitlines()[0]}). The checkpoints before are intact: make room, then"
            f" go on with: gdro train --resume {run}"
        ) from error


def fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None when every file is as it was sealed."""
    path = folder / SEAL
    if not path.is_file():
        return "it was never finished"
    try:
        expected = json.loads(path.read_bytes())["sha256"]
        for name, digest in expected.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if _digest(folder / name) != digest:
                return f"{name} is damaged (its checksum does not match)"
            if name.endswith(".json"):
                json.loads((folder / name).read_bytes())
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{SEAL}, or a file of JSON that it names, is damaged"
    return None


def rotate(root: Path, keep: int) -> None:
    """Remove all but the `keep` newest checkpoints, by step. One is renamed first, so that half of
    one never shows."""
    for folder in all_checkpoints(root)[keep:]:
        os.replace(folder, _free_name(folder.with_name(f"{REMOVED}{folder.name}")))
    _clear(root)


def step_of(folder: Path) -> int:
    """The step of a checkpoint folder's name."""
    return int(folder.name.removeprefix(PREFIX))


def all_checkpoints(root: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    if not root.is_dir():
        return []
    found = [
        path
        for path in root.iterdir()
        if path.name.removeprefix(PREFIX).isdigit() and path.is_dir()
    ]
    return sorted(found, key=step_of, reverse=True)


def newest_whole(root: Path, tell: Callable[[str], None]) -> Path | None:
    """The newest checkpoint whose seal holds; None when there is none at all.

    A faulty newer one is told about and moved aside to `damaged-...`, so that nothing takes it for
    a checkpoint again. Those that an earlier resume moved aside are removed then, so that they do
    not pile up.

    Raises:
        RunError: there are checkpoints, and every one of them is faulty.
    """
    _clear(root)
    checkpoints = all_checkpoints(root)
    earlier = list(root.glob(f"{DAMAGED}{PREFIX}*"))
    faults: list[str] = []
    for folder in checkpoints:
        wrong = fault(folder)
        if wrong is None:
            return folder
        faults.append(f"{folder.name}: {wrong}")
        aside = _free_name(folder.with_name(f"{DAMAGED}{folder.name}"))
        tell(
            f"checkpoint {folder} cannot be used: {wrong}. Moved to {aside.name}; trying the one"
            " before it."
        )
        os.replace(folder, aside)
        while earlier:
            shutil.rmtree(earlier.pop())
    if checkpoints and not all("never finished" in text for text in faults):
        raise RunError(
            f"no checkpoint in {root} can be used ({'; '.join(faults)}); start the run anew"
        )
    return None


def _clear(root: Path) -> None:
    """Finish removals that an interruption left half done."""
    for leftover in root.glob(f"{REMOVED}*"):
        shutil.rmtree(leftover)


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)


def _digest(path: Path, *, flush: bool = False) -> str:
    with path.open("rb") as file:
        if flush:
            os.fsync(file.fileno())
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
