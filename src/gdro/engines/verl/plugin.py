"""What verl loads through the entry-point group `verl.plugins`, in every process: it registers the
trainers.

verl reports a plug-in that fails to load at DEBUG only, so this module reports it itself before it
gives up.
"""

from __future__ import annotations

import logging

import verl

VERSIONS = "0.9 or 0.10"

logger = logging.getLogger("gdro")


def supported(version: str) -> bool:
    """Whether the plug-in is made for this version of verl."""
    return version.split(".")[:2] in (["0", "9"], ["0", "10"])


def load() -> None:
    """Register the trainers.

    Raises:
        ImportError: another version of verl, or a package that its V1 trainer needs is missing.
    """
    try:
        if not supported(verl.__version__):
            raise ImportError(f"gdro needs verl {VERSIONS}, this is verl {verl.__version__}")
        import gdro.engines.verl.trainer  # noqa: F401
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        logger.error(
            "gdro's plug-in for verl did NOT load, so trainer.v1.trainer_mode=gdro does not exist:"
            " %s: %s. See docs/verl.md, Installation; `python -m gdro.engines.verl.check` shows"
            " more",
            type(error).__name__,
            error,
        )
        raise


load()
