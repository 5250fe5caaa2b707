"""The one layout of what gdro adds to an engine's checkpoint, and its one loader.

    {"format": .., "writer": {..}, "session": ControllerSession.state_dict(), "place": {..}}

`place` is the engine's own: where its loop stands, as far as the engine itself does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gdro.core.errors import StateError
from gdro.core.state import load_state, read_state, save_state
from gdro.engines.session import ControllerSession

FORMAT = 2

HOW = "resume from another checkpoint, or start a new run from its model"


def save_session(
    path: Path, session: ControllerSession[Any], writer: Mapping[str, Any], place: Mapping[str, Any]
) -> None:
    """Write a session's state, atomically.

    Args:
        writer: who writes, for messages: `engine` and whatever the engine wants to compare.
        place: the engine's own part, numbers and text.

    Raises:
        OSError: the disk refused; what stood there before is untouched.
    """
    who = {"controller": session.controller.name, "weighting": session.weighting, **writer}
    state = {"format": FORMAT, "writer": who, "session": session.state_dict(), "place": dict(place)}
    save_state(path, state)


def load_session(path: Path, session: ControllerSession[Any], fresh: str | None = None) -> None:
    """Let a session go on from a file.

    Args:
        fresh: how the user starts with an empty controller instead, for the message.

    Raises:
        StateError: the file is missing, damaged or of another layout; or another controller or
            other options wrote it, and which.
    """
    state = read_session(path, fresh)
    try:
        session.load_state_dict(read_state(state, "session"))
    except StateError as error:
        raise StateError(f"{path} was written by {written_by(state)}: {error}") from error


def read_session(path: Path, fresh: str | None = None) -> dict[str, Any]:
    """The content of a file that `save_session` wrote.

    Raises:
        StateError: the file is missing, damaged or of another layout.
    """
    if not path.is_file():
        empty = "" if fresh is None else f", or set {fresh} to start with an empty controller"
        raise StateError(
            f"{path} is missing: the checkpoint was written without gdro, or is incomplete;"
            f" {HOW}{empty}"
        )
    state = load_state(path)
    if state.get("format") != FORMAT:
        raise StateError(
            f"{path} has format {state.get('format')!r}, this version reads {FORMAT}; {HOW}"
        )
    return state


def written_by(state: Mapping[str, Any]) -> str:
    """Who wrote a state, in words."""
    writer = state["writer"]
    rest = [
        f"{key}={value!r}" for key, value in writer.items() if key not in ("engine", "controller")
    ]
    return f"{writer['engine']} with controller {writer['controller']!r} ({', '.join(rest)})"
