"""Trackers beside the record, through accelerate's interface to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from accelerate.utils import is_tensorboard_available, is_trackio_available, is_wandb_available

from gdro.core.errors import DiffusionError

AVAILABLE = {
    "tensorboard": is_tensorboard_available,
    "wandb": is_wandb_available,
    "trackio": is_trackio_available,
}


def check_trackers(names: Sequence[str]) -> None:
    """Require that each is installed.

    Raises:
        DiffusionError: one is not.
    """
    for name in names:
        if not AVAILABLE[name]():
            raise DiffusionError(f"report_to: {name} is not installed; pip install {name}")


class Trackers:
    """The trackers of `report_to`, opened together."""

    def __init__(self, names: Sequence[str], run: Path, settings: Mapping[str, Any]) -> None:
        check_trackers(names)
        if names:
            PartialState()  # their log calls need it
        self._trackers: list[GeneralTracker] = []
        for name in names:
            kind = LOGGER_TYPE_TO_CLASS[name]
            place = (
                {"logging_dir": str(run / "tensorboard")} if kind.requires_logging_directory else {}
            )
            tracker = kind(run.name, **place)
            tracker.start()
            tracker.store_init_configuration(
                {key: _plain(value) for key, value in settings.items()}
            )
            self._trackers.append(tracker)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send numbers."""
        for tracker in self._trackers:
            tracker.log(dict(values), step=step)

    def close(self) -> None:
        """Let each finish."""
        for tracker in self._trackers:
            tracker.finish()


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool) else str(value)
