"""Length-prefixed JSON over a socket: the only thing that passes between a run and its verifier
workers.

JSON and not pickle, because what a worker sends back was computed from text that a model wrote.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_HEADER = struct.Struct("!I")
_CHUNK = 1 << 16


def encode(message: Any) -> bytes:
    """One frame: four bytes of length (big endian), then the JSON text (ASCII: lone surrogates
    survive)."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    return _HEADER.pack(len(body)) + body


class FrameReader:
    """Collects bytes from one socket and hands out whole frames."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()

    def pop(self) -> Any | None:
        """The next whole frame that has already arrived, or None."""
        if len(self._buffer) < _HEADER.size:
            return None
        (size,) = _HEADER.unpack_from(self._buffer)
        end = _HEADER.size + size
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return json.loads(body)

    def fill(self) -> bool:
        """Read what is there (blocks if nothing is). False at end of file or on a reset
        connection."""
        try:
            chunk = self._sock.recv(_CHUNK)
        except ConnectionError:
            return False
        self._buffer += chunk
        return bool(chunk)

    def read(self) -> Any | None:
        """Block for the next frame; None at end of file."""
        while (frame := self.pop()) is None:
            if not self.fill():
                return None
        return frame
