"""The session's state beside tinker-cookbook's checkpoints: `<log_path>/gdro/<step>.npz`.

tinker-cookbook keeps weights on the service and writes one line a checkpoint to
`checkpoints.jsonl`; a run goes on from the step of the last line. The state is saved at every step,
and only those that a line names or may yet name are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinker_cookbook.checkpoint_utils import (  # type: ignore[import-not-found, unused-ignore]
    get_last_checkpoint,
    load_checkpoints_file,
)

from gdro.engines.session import ControllerSession
from gdro.engines.states import load_session, save_session


class States:
    """The saved states of a run.

    Attributes:
        step: batches answered since the run's first start.
    """

    def __init__(
        self, log_path: str, session: ControllerSession[Any], *, fresh: bool = False
    ) -> None:
        """Restore the state that belongs to the last checkpoint, if there is one.

        Raises:
            StateError: that state is missing (and `fresh` is off), damaged or another controller's.
        """
        self.folder = Path(log_path) / "gdro"
        self._log_path = log_path
        self._session = session
        last = get_last_checkpoint(log_path)
        self.step: int = 0 if last is None else last.batch
        if self.step == 0:
            return
        path = self._path(self.step)
        if path.exists() or not fresh:
            load_session(path, session, fresh="fresh=True")

    def save(self) -> None:
        """Write the state after one more batch, and drop those that no checkpoint needs."""
        self.step += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        writer = {"engine": "gdro's loop for tinker-cookbook"}
        save_session(self._path(self.step), self._session, writer, {"step": self.step})
        records = load_checkpoints_file(self._log_path)
        named = {record.batch for record in records if record.batch is not None}
        for path in self.folder.glob("*.npz"):
            if int(path.stem) < max(named, default=0) and int(path.stem) not in named:
                path.unlink()

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:06d}.npz"
