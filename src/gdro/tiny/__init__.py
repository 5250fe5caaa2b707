"""The embedded base model, a small Qwen3 taught reasoning-gym partly wrong, and its tasks.

research/pretrain.py made it.
"""

from pathlib import Path

__all__ = ["base_path"]


def base_path() -> Path:
    """The folder of the embedded base model, an ordinary Hugging Face folder."""
    return Path(__file__).parent / "base"
