"""Files: written whole or not at all, by one process at a time, and JSON that any reader takes."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gdro.core.errors import GDROError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system without locks answers."""


def write_atomic(path: str | os.PathLike[str], content: str | bytes | memoryview) -> None:
    """Write a file so that a reader, also after a power failure, finds the old content or the new
    one, whole.

    A temporary file beside it (`.NAME.PID.tmp`), fsync, then a rename over the old one.

    Raises:
        OSError: the disk refused (full, read-only); what stood there before is untouched.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """One process at a time. The system lets go when it ends, however it ends; where the file
    system knows no locks, there is none.

    Args:
        path: a folder, or a file, which is made where there is none.
        wait: until the process that has it lets go.

    Raises:
        BlockingIOError: another process has it, and `wait` is False.
    """
    import fcntl  # here, since Windows has none and the core runs there too

    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield
    finally:
        os.close(handle)


@contextmanager
def only_writer(folder: Path, refusal: type[GDROError]) -> Iterator[None]:
    """Keep other processes off a run's folder while this one writes it.

    Raises:
        GDROError: `refusal`: another process has it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except BlockingIOError:
            raise refusal(
                f"{folder} is being written by another process; wait for it or stop it"
            ) from None
        yield


class RecordWriter:
    """Appends the events of a run to its record, one a line. Every event names its kind under
    "event" and, but for the start, its step."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, event: str, **fields: Any) -> None:
        """Append one event and hand it to the operating system."""
        self._file.write(to_json({"event": event} | fields) + "\n")
        self._file.flush()

    def flush_to_disk(self) -> None:
        """Make sure that what is written survives a power failure."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush to disk and close."""
        self.flush_to_disk()
        self._file.close()


def to_json(value: Any, *, indent: int | None = None) -> str:
    """`value` as JSON without NaN and infinity, which no strict reader takes: they become null."""
    return json.dumps(without_nan(value), indent=indent, allow_nan=False, ensure_ascii=False)


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested mappings as `a.b` -> value; lists, and mappings that are empty, are values."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        deeper = isinstance(value, Mapping) and value
        found |= flat(value, f"{above}{key}.") if deeper else {f"{above}{key}": value}
    return found


def without_nan(value: Any) -> Any:
    """The value with every number that JSON does not know replaced by None, and every key a
    string."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): without_nan(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(part) for part in value]
    return value
