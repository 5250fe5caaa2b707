"""Ctrl-C and SIGTERM while something long goes on: taken for a block, then given back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_stop(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` at every Ctrl-C and SIGTERM in the block; afterwards they do what they did."""
    old = {
        number: signal.signal(number, lambda number, frame: handle())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, before in old.items():
            signal.signal(number, before)
