"""What a run or a dry run stands on: the machine (how many devices, how much memory, how fast at
best) and the code."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from importlib import metadata
from pathlib import Path
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


def code_commit(package: Path = Path(__file__).parents[1]) -> str | None:
    """The git commit of the code: short, `with changes` where files of the package differ from it.

    Args:
        package: the folder of gdro, in a checkout or installed.

    Returns:
        None where it is not known: installed from a registry, or no git here.
    """
    try:  # a package installed inside somebody's repository is not tracked there
        if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
            return _installed_commit()
        commit, changed = _git(package, "rev-parse", "HEAD"), _git(package, "status", "-s", ".")
    except FileNotFoundError:
        return _installed_commit()
    return f"{commit:.7}{' with changes' if changed else ''}" if commit else None


def _git(folder: Path, *words: str) -> str | None:
    """What a git command says of a folder; None where it fails."""
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _installed_commit() -> str | None:
    """The commit of `pip install git+URL`, which pip writes down (PEP 610)."""
    try:
        said = metadata.distribution("gdro").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    commit = json.loads(said or "{}").get("vcs_info", {}).get("commit_id")
    return f"{commit:.7}" if commit else None


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
    # whole words: an RTX A1000 is no A100, and an L40 no L4
    sizes = (size for name, size in GPUS.items() if re.search(rf"\b{name}\b", properties.name))
    known = next(sizes, None)
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
