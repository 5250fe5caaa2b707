"""Files: written whole or not at all, and JSON that any reader takes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
