"""A base of 36 M parameters, from nothing: the model that results/larger_model was trained from.

    python research/larger_model.py runs/larger/base           # a minute on a GPU, hours on a core
    nvidia-cuda-mps-control -d; export NVIDIA_TF32_OVERRIDE=1  # many processes on a GPU, TF32
    gdro compare results/larger_model/plan.yaml --jobs 16      # 50 runs: 12 minutes on one H100

It is taught what the embedded one is taught (docs/theory.md), in fewer steps: a larger model learns
more from each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from pretrain import Phase, PretrainSettings, pretrain

BASE = PretrainSettings(
    hidden=768,
    intermediate=2304,
    layers=5,
    chunks=1,
    skills=Phase(steps=600, learning_rate=1.5e-3, warmup=80, horizon=1800, faulty=False),
    faults=Phase(steps=300, learning_rate=4e-4, warmup=40, horizon=300, faulty=True),
)
"""36.0 M parameters, taught for three quarters of the embedded model's steps."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, help="folder of the new model")
    chosen = parser.parse_args(arguments)
    print(
        "sha256",
        pretrain(BASE, chosen.output, device="cuda" if torch.cuda.is_available() else "cpu"),
    )


if __name__ == "__main__":
    main()
