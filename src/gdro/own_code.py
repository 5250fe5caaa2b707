"""Code of the user's, `path/to/file.py:name`: from the file that they name and from nowhere
else; and where an error passed through it."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import site
import sys
import sysconfig
from pathlib import Path
from types import ModuleType, TracebackType
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


_OWN = Path(__file__).resolve().parents[1]
_LIBRARIES = [
    Path(path).resolve()
    for path in (
        *site.getsitepackages(),
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("purelib"),
    )
]


def point_at(error: BaseException) -> None:
    """Add a note with the innermost place of the user's own code that an error passed through.

    Looks only at what was called from the frame that caught the error, so a script that started the
    run is not blamed. Without such code (a fault of gdro's, or of a library's own thread) no note.
    """
    trace = error.__traceback__
    places = _places(None if trace is None else trace.tb_next)
    if places and not any(
        note.startswith("raised in ") for note in getattr(error, "__notes__", ())
    ):
        file, line, name = places[-1]
        error.add_note(f"raised in {file}:{line}, in {name}")


def _places(trace: TracebackType | None) -> list[tuple[Path, int, str]]:
    found = []
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_file() and not _known(file.resolve()):
            found.append((file, trace.tb_lineno, trace.tb_frame.f_code.co_name))
        trace = trace.tb_next
    return found


def _known(file: Path) -> bool:
    return any(file.is_relative_to(root) for root in (_OWN, *_LIBRARIES))
