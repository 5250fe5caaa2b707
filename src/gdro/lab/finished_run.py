"""What a finished run of `gdro train` left besides its model: its controller, as it was at the end."""

from __future__ import annotations

from gdro.engines.interface import Controller
from gdro.engines.trl.checkpoint import load_place
from gdro.runs.checkpoints import all_checkpoints, fault
from gdro.runs.config import load_config
from gdro.runs.errors import RunError
from gdro.runs.folder import RunFolder
from gdro.runs.trainer_args import controller_of


def controller_at_end(run: RunFolder) -> Controller:
    """The run's controller, with the state of its last whole checkpoint.

    Raises:
        RunError: the run has no whole checkpoint.
    """
    controller = controller_of(load_config(run.config))
    whole = next((folder for folder in all_checkpoints(run.checkpoints) if fault(folder) is None), None)
    if whole is None:
        raise RunError(f"{run.checkpoints}: no whole checkpoint, so the run's controller is lost; train the run again")
    controller.load_state_dict(load_place(whole, processes=1)[1])
    return controller
