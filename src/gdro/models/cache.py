"""The user's cache folder, and folders in it that are there whole or not at all.

A folder is filled under a hidden name, flushed to disk and renamed, under a lock. A process that is
killed on the way leaves only the hidden folder, which the next one removes.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from gdro.core.errors import ModelError
from gdro.io import locked

VARIABLE = "GDRO_CACHE"
FULL = (errno.ENOSPC, errno.EDQUOT)


def cache_folder() -> Path:
    """Where models and data are kept: $GDRO_CACHE, else $XDG_CACHE_HOME/gdro, else ~/.cache/gdro
    (~/Library/Caches/gdro on a Mac). It is not made here."""
    if own := os.environ.get(VARIABLE):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "gdro"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "gdro"


def models_folder() -> Path:
    """The folder of the models in the cache."""
    return cache_folder() / "models"


def build(target: Path, fill: Callable[[Path], None], *, needs: int) -> Path:
    """Make the folder `target`, whole or not at all; one that is there already is left as it is.

    Args:
        target: the folder; its parents are made.
        fill: writes everything into the empty folder that it is given.
        needs: bytes that must be free where `target` is to lie, temporary files included.

    Raises:
        ModelError: the place cannot be written to, or has no room.
        Whatever `fill` raises; nothing is left then.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"{target.parent} cannot be made ({error.strerror}); set {VARIABLE}=FOLDER to another"
        ) from None
    with locked(target.parent / f".{target.name}.lock", wait=True):
        if target.is_dir():
            return target
        for leftover in target.parent.glob(f"{_draft(target)}*"):
            shutil.rmtree(leftover)
        _check_room(target, needs)
        draft = Path(tempfile.mkdtemp(prefix=_draft(target), dir=target.parent))
        try:
            fill(draft)
            _flush(draft)
            draft.chmod(0o755)
            os.replace(draft, target)
        except OSError as error:
            if error.errno in FULL:
                raise _no_room(target, needs) from error
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return target


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _draft(target: Path) -> str:
    return f".{target.name}.draft-"


def _check_room(target: Path, needs: int) -> None:
    if shutil.disk_usage(target.parent).free < needs:
        raise _no_room(target, needs)


def _no_room(target: Path, needs: int) -> ModelError:
    free = shutil.disk_usage(target.parent).free
    return ModelError(
        f"{target} needs {needs / 2**20:.0f} MiB of disk on the way, and {free / 2**20:.0f} MiB are"
        f" free; make room, or set {VARIABLE}=FOLDER to a place that has it"
    )


def _flush(folder: Path) -> None:
    """A rename that survives a power failure must not outlive what it names."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
