"""Saved state: one .npz file without pickle, written whole or not at all, sealed by a checksum over
all of it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gdro.core.errors import StateError
from gdro.io import write_atomic

State = dict[str, Any]
"""Nested dictionaries, by string keys, of arrays, numbers, strings, None and lists of those."""

Array = TypeVar("Array", bound=NDArray[Any])

ANY, AS_LIKE = -2, -1

SEAL = 64
"""The archive's comment, its last bytes: the sha256 of all before them, in hexadecimal."""


def save_state(path: str | os.PathLike[str], state: State) -> None:
    """Write a state, whole or not at all (`gdro.io.write_atomic`).

    Equal states give equal bytes.

    Raises:
        StateError: names the key that holds something other than a `State`.
        OSError: the disk refused (full, read-only); what stood at `path` before is untouched.
    """
    content = _archive(state).getbuffer()
    content[-SEAL:] = sha256(content[:-SEAL]).hexdigest().encode()
    write_atomic(path, content)


def load_state(path: str | os.PathLike[str]) -> State:
    """Read a state that `save_state` wrote; executes no code.

    Raises:
        FileNotFoundError: there is no such file.
        StateError: the file is truncated, altered or something else.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StateError(
            f"{path} is not a readable state ({error}); use an older checkpoint"
        ) from error
    if sha256(memoryview(content)[:-SEAL]).hexdigest().encode() != content[-SEAL:]:
        raise StateError(f"{path} is damaged: its checksum does not match; use an older checkpoint")
    try:
        with np.load(BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return _restore(json.loads(arrays.pop("tree").tobytes()), arrays)  # type: ignore[no-any-return]
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError, RecursionError) as error:
        raise StateError(f"{path} is no saved state ({error})") from error


def state_hash(state: State) -> str:
    """sha256 of a state, the same wherever and whenever it is taken."""
    tree, arrays = _flatten(state)
    digest = sha256(tree.encode())
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def read_array(state: State, key: str, like: Array, rows: int = AS_LIKE) -> Array:
    """A copy of the array at `key`, which must have the type of `like` and its shape.

    Args:
        rows: the length of the first axis, AS_LIKE or ANY.

    Raises:
        StateError: names the key that is missing, of another type or shape, or (AS_LIKE) not
            finite.
    """
    found = _read(state, key)
    if not isinstance(found, np.ndarray) or found.dtype != like.dtype:
        kind = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
        raise StateError(
            f"state key {key!r} is of type {kind}, not {like.dtype}; was it saved with other"
            " options?"
        )
    expected = (
        len(found) if found.ndim and rows == ANY else rows if rows >= 0 else len(like),
        *like.shape[1:],
    )
    if found.shape != expected:
        raise StateError(
            f"state key {key!r} has shape {found.shape}, not {expected}; was it saved with other"
            " options?"
        )
    if rows == AS_LIKE and found.dtype.kind == "f" and not np.isfinite(found).all():
        raise StateError(
            f"state key {key!r} holds a number that is not finite; load an older checkpoint"
        )
    return found.copy()  # type: ignore[return-value]


def read_int(state: State, key: str) -> int:
    """The count at `key`; raises StateError when it is missing, negative or no whole number."""
    found = _read(state, key)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise StateError(f"state key {key!r} is {found!r}, not a count; load an older checkpoint")
    return found


def read_float(state: State, key: str) -> float:
    """The number at `key`; raises StateError when it is missing or not finite."""
    found = _read(state, key)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not np.isfinite(found):
        raise StateError(
            f"state key {key!r} is {found!r}, not a finite number; load an older checkpoint"
        )
    return float(found)


def read_state(state: State, key: str) -> State:
    """The nested state at `key`; raises StateError when it is missing or something else."""
    found = _read(state, key)
    if not isinstance(found, dict):
        raise StateError(
            f"state key {key!r} is a {type(found).__name__}, not a dictionary; load an older"
            " checkpoint"
        )
    return found


def read_states(state: State, key: str) -> list[State]:
    """The list of nested states at `key`; raises StateError when it is missing or something
    else."""
    found = _read(state, key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise StateError(
            f"state key {key!r} is not a list of dictionaries; load an older checkpoint"
        )
    return found


def _read(state: State, key: str) -> Any:
    if not isinstance(state, dict) or key not in state:
        raise StateError(
            f"the state lacks the key {key!r}; it is no state of this version, or damaged"
        )
    return state[key]


def _archive(state: State) -> BytesIO:
    """An .npz in memory: the arrays by number, the tree that holds them, and room for the seal."""
    tree, arrays = _flatten(state)
    members = [*enumerate(arrays), ("tree", np.frombuffer(tree.encode(), np.uint8))]
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        archive.comment = b"0" * SEAL
    return content


def _flatten(state: State) -> tuple[str, list[NDArray[Any]]]:
    """The state as JSON in which a number stands for each array, and the arrays."""
    arrays: list[NDArray[Any]] = []
    return json.dumps(_strip(state, "", arrays)), arrays


def _strip(node: Any, path: str, arrays: list[NDArray[Any]]) -> Any:
    """The node with every array replaced by its number; keys in order."""
    if isinstance(node, np.ndarray) and not node.dtype.hasobject:
        arrays.append(node)
        return {"__array__": len(arrays) - 1}
    if isinstance(node, dict):
        return {key: _strip(value, f"{path}.{key}", arrays) for key, value in _items(node, path)}
    if isinstance(node, (list, tuple)):
        return [_strip(value, f"{path}.{place}", arrays) for place, value in enumerate(node)]
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    raise StateError(
        f"state key {path.lstrip('.')!r} holds a {type(node).__name__}, which cannot be saved"
    )


def _items(node: State, path: str) -> Iterator[tuple[str, Any]]:
    for key in node:
        if not isinstance(key, str) or key == "__array__":
            raise StateError(
                f"state key {path.lstrip('.')!r} holds the key {key!r}; keys are strings, not"
                " '__array__'"
            )
    return iter(sorted(node.items()))


def _restore(node: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(node, dict):
        if "__array__" in node:
            return arrays[str(node["__array__"])]
        return {key: _restore(value, arrays) for key, value in node.items()}
    if isinstance(node, list):
        return [_restore(value, arrays) for value in node]
    return node
