"""The error of this room: one message for a person, with the file, prompt, image or key at
fault."""

from __future__ import annotations

from gdro.core.errors import GDROError


class DiffusionError(GDROError, ValueError):
    """Something of a diffusion run cannot be used; says what, where, and what to do."""
