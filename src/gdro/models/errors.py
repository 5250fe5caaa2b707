"""The error of this room."""

from __future__ import annotations

from gdro.core.errors import GDROError


class ModelError(GDROError, ValueError):
    """A model that is not there, not whole, or not one that can be trained; one line that says what
    to do."""
