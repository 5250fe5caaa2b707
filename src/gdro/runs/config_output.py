"""The folder of a run: the one asked for, or the first free one of runs/NAME-001, runs/NAME-002, ..."""

from __future__ import annotations

from pathlib import Path

from gdro.runs.config_base import ConfigError

MOST = 999


def make_output(output: str | None, name: str, root: Path = Path("runs")) -> Path:
    """Makes the folder of a new run and returns it; two runs started together never get the same one.

    Args:
        output: the folder asked for, or None.
        name: of the run, used where `output` is None.
        root: where numbered folders go.

    Raises:
        ConfigError: the folder is not empty, is a file, or cannot be made.
    """
    try:
        return _first_free(root, name) if output is None else _asked_for(Path(output))
    except OSError as error:
        raise ConfigError(f"output = {output!r}: cannot be made ({error.strerror}: {error.filename})") from error


def _asked_for(path: Path) -> Path:
    if path.is_file():
        raise ConfigError(f"output = {str(path)!r}: is a file; name a folder")
    if path.is_dir() and any(path.iterdir()):
        raise ConfigError(
            f"output = {str(path)!r}: is not empty; name another folder, or continue its run with "
            f"`gdro train --resume {path}`"
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


def _first_free(root: Path, name: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for number in range(1, MOST + 1):
        path = root / f"{name}-{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise ConfigError(f"output: {root}/{name}-001 to -{MOST} are all taken; set output or another name")
