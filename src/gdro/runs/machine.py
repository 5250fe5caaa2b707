"""The machine that a run or a dry run stands on: how many devices, how much memory, how fast at
best."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import torch
from accelerate import PartialState

from gdro.runs.estimate import GPUS

SIDE, REPEATS = 512, 5
"""Of the square matrices that a CPU is timed with."""


def machine() -> dict[str, Any]:
    """What the run ran on, without names."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processes": PartialState().num_processes,
        "gpu": gpu,
    }


def this_machine(dtype: str) -> tuple[dict[str, float], str]:
    """Assumptions of a dry run that follow from this machine, and what it is, in words.

    Args:
        dtype: number format in which a CPU is timed, float32 or bfloat16.
    """
    if not torch.cuda.is_available():
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        speed = _cpu_tflops(dtype)
        found = {"processes": 1.0, "device_gb": memory, "peak_tflops": speed}
        return (
            found,
            (
                f"no GPU; CPU with {torch.get_num_threads()} threads, {1000 * speed:.3g} GFLOP/s"
                f" measured in {dtype}"
            ),
        )
    count, properties = torch.cuda.device_count(), torch.cuda.get_device_properties(0)
    found = {"processes": float(count), "device_gb": properties.total_memory / 1e9}
    known = next((size for name, size in GPUS.items() if name in properties.name), None)
    if known is None:
        return found, f"{count} x {properties.name}, whose speed is not known here"
    return found | {"peak_tflops": known[1]}, f"{count} x {properties.name}"


def _cpu_tflops(dtype: str) -> float:
    matrix = torch.ones(SIDE, SIDE, dtype=getattr(torch, dtype))
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        torch.mm(matrix, matrix)
        best = min(best, time.perf_counter() - started)
    return 2 * SIDE**3 / best / 1e12
