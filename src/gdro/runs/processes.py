"""The processes of one launch (torchrun): how they meet, and how they part."""

from __future__ import annotations

import gc

import torch
from accelerate import PartialState


def join_processes() -> None:
    """Meet the other processes of a launch: accelerate does so on a CPU only when told."""
    PartialState(cpu=not torch.cuda.is_available())


def leave_processes() -> None:
    """Part from the other processes of a launch, once each has finished: the last thing that a
    program does.

    A finished trainer is a cycle that holds the process group, and with it gloo's threads, until it
    is collected. A thread that outlives the interpreter can abort the process (exit status 134),
    however well the run went.
    """
    PartialState().wait_for_everyone()
    # After the others are met: a vLLM that is collected ends the process group itself, and does not
    # find its own if that comes first. It has frozen what was there when it was built.
    gc.unfreeze()
    gc.collect()
    PartialState().destroy_process_group()
