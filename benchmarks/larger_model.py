"""Does it hold on a model forty times as large? Ten methods from a base of 36 M parameters, on a GPU.

    nvidia-cuda-mps-control -d                                    # many small processes share the GPU
    export NVIDIA_TF32_OVERRIDE=1                                 # matrix products of float32 in TF32
    python benchmarks/larger_model.py runs/larger --jobs 16       make the base from nothing, train what is missing
    gdro compare docs/evidence/larger --report                    the table again, from the outcomes there

The base is taught what the embedded one is taught (docs/base_model.md), from nothing, in fewer steps: a larger model
learns more from each. The comparison is `confirm_first`, most of its methods and `joint`, but for the model, its
learning rate and the seeds. It runs without a GPU too, a step a second on one core.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from comparisons import train
from gdro.lab.arguments import at_least_one
from gdro.lab.compare_plan import Plan, locate_plan, read_plan
from gdro.tiny.pretrain import Phase, Settings, pretrain

BASE = Settings(
    hidden=768,
    intermediate=2304,
    layers=5,
    chunks=1,
    skills=Phase(steps=600, learning_rate=1.5e-3, warmup=80, horizon=1800, faulty=False),
    faults=Phase(steps=300, learning_rate=4e-4, warmup=40, horizon=300, faulty=True),
)
"""36.0 M parameters, taught for three quarters of the embedded model's steps."""
SEEDS = (60, 61, 62, 63, 64)
METHODS = ("uniform", "paced", "sec", "live", "dump", "joint", "adarft", "greso", "mopps", "maxrl")


def plan_of(base: Path) -> Plan:
    """The comparison; its runs start from `base`."""
    first = read_plan(locate_plan("confirm_first"))
    known = first.methods | {"joint": {"controller": "joint"}}
    changed = {
        "model": str(base),
        "checkpoint.every": 600,
        "optimisation.learning_rate": 1e-4,
        "verifier.workers": 1,
    }
    values = {
        "name": "larger",
        "about": "Ten methods on the default run's mixture, from a base of 36 M parameters",
        "seeds": SEEDS,
        "methods": {name: known[name] for name in METHODS},
        "overrides": first.overrides | changed,
    }
    return first.model_copy(update=values)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the comparison's folder; the base is made in FOLDER/base")
    parser.add_argument("--jobs", type=at_least_one, default=1, help="runs side by side (default 1)")
    parser.add_argument("--only-base", action="store_true", help="make the base and stop")
    chosen = parser.parse_args(arguments)
    base = chosen.folder / "base"
    if not (base / "config.json").is_file():
        pretrain(BASE, base, device="cuda" if torch.cuda.is_available() else "cpu")
    return 0 if chosen.only_base else train(chosen.folder.parent, {chosen.folder.name: plan_of(base)}, chosen.jobs)


if __name__ == "__main__":
    sys.exit(main())
