"""The error that ends a command: one message for a person, without a traceback."""

from __future__ import annotations


class RunError(Exception):
    """A run that cannot start or go on; says what is wrong, where, and what to do."""
