"""The error that ends a command: one message for a person, without a traceback."""

from __future__ import annotations

from gdro.core.errors import GDROError


class RunError(GDROError):
    """A run that cannot start or go on; says what is wrong, where, and what to do."""
