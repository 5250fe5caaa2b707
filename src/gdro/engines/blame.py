"""Whose code raised: the file and line in the user's own code, said with the error."""

from __future__ import annotations

import site
import sysconfig
from pathlib import Path
from types import TracebackType

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
