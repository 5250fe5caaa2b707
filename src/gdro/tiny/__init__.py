"""The embedded base model: a small Qwen3 taught reasoning-gym partly wrong, and how it was made.

`gdro.tiny.mixture` (the tasks) and this file need no torch; `pretrain`, `sampling` and `spread` do.
"""

from pathlib import Path

__all__ = ["base_path"]


def base_path() -> Path:
    """The folder of the embedded base model, an ordinary Hugging Face folder."""
    return Path(__file__).parent / "base"
