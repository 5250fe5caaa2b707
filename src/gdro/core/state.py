"""Saved state: one .npz file without pickle, written whole or not at all, with a checksum over its content."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from gdro.core.errors import StateError

State = dict[str, Any]
"""Nested dictionaries of arrays, numbers, strings, None and lists of those."""


def save_state(path: str | os.PathLike[str], state: State) -> None:
    """Write a state atomically: a temporary file beside it, fsync, then a rename over the old one.

    Raises:
        OSError: the disk refused (full, read-only); what stood at `path` before is untouched.
    """
    target = Path(path)
    arrays: dict[str, np.ndarray] = {}
    tree = json.dumps(_strip(state, "", arrays), sort_keys=True)
    header = {"tree": tree, "sha256": checksum(tree, arrays)}
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, header=text, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def load_state(path: str | os.PathLike[str]) -> State:
    """Read a state that `save_state` wrote; executes no code.

    Raises:
        FileNotFoundError: there is no such file.
        StateError: the file is truncated, altered or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            arrays = {name: file[name] for name in file.files if name != "header"}
        tree, expected = header["tree"], header["sha256"]
    except FileNotFoundError:
        raise
    except (OSError, BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
        raise StateError(f"{path} is not a readable state ({error}); use an older checkpoint") from error
    if checksum(tree, arrays) != expected:
        raise StateError(f"{path} is damaged: its checksum does not match; use an older checkpoint")
    return _restore(json.loads(tree), arrays)  # type: ignore[no-any-return]


def checksum(tree: str, arrays: dict[str, np.ndarray]) -> str:
    """sha256 over the tree and every array's name, type, shape and bytes."""
    digest = sha256(tree.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def state_hash(state: State) -> str:
    """sha256 of a state, the same wherever and whenever it is taken."""
    arrays: dict[str, np.ndarray] = {}
    return checksum(json.dumps(_strip(state, "", arrays), sort_keys=True), arrays)


def _strip(node: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """The tree with every array replaced by its name."""
    if isinstance(node, np.ndarray):
        name = f"a{path}"
        arrays[name] = node
        return {"__array__": name}
    if isinstance(node, dict):
        return {key: _strip(value, f"{path}.{key}", arrays) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_strip(value, f"{path}.{place}", arrays) for place, value in enumerate(node)]
    if node is None or isinstance(node, (bool, int, float, str)):
        return node
    raise StateError(f"state key {path.lstrip('.')!r} holds a {type(node).__name__}, which cannot be saved")


def _restore(node: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(node, dict):
        if "__array__" in node:
            return arrays[node["__array__"]]
        return {key: _restore(value, arrays) for key, value in node.items()}
    if isinstance(node, list):
        return [_restore(value, arrays) for value in node]
    return node
