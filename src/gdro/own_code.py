"""Code of the user's, `path/to/file.py:name`: from the file that they name and from nowhere
else."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from gdro.core.errors import GDROError


class OwnCodeError(GDROError, ValueError):
    """The form is wrong, the file is missing, or it has no such name."""


def is_own(where: str) -> bool:
    """Whether this reads as `path/to/file.py:name`."""
    return where.rpartition(":")[0].endswith(".py")


def load_own(where: str, what: str) -> Any:
    """What the file calls by that name. A file is run once, however often it is asked.

    Args:
        where: `path/to/file.py:name`; the path is relative to the working folder.
        what: what it is to be, for the messages: `reward function`.

    Raises:
        OwnCodeError: as its docstring says. What the file itself raises is let through.
    """
    location, _, name = where.rpartition(":")
    if not is_own(where) or not name:
        raise OwnCodeError(
            f"{what} {where!r}: write path/to/file.py:name, the file that holds the"
            f" {what.split()[-1]} and its name in there; a module's name is not looked up"
        )
    path = Path(location)
    if not path.is_file():
        raise OwnCodeError(f"{what} file {str(path)!r} does not exist")
    found = vars(_module(path.resolve())).get(name)
    if found is None:
        raise OwnCodeError(f"{what} {where!r}: {location} has no {what.split()[-1]} {name!r}")
    return found


@functools.cache
def _module(path: Path) -> ModuleType:
    name = f"gdro_own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a file that ends in .py has a loader"
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and type hints look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
