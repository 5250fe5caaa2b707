"""Run by test_trl_objectives.py under torchrun: every objective on two processes, its gradients
checked."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from objective_oracle import Anchored, Checked
from trl_bench import Ragged, sums

from gdro.engines.trl import like_length
from gdro.runs.processes import leave_processes

RUNS = {
    "disco": {"objective": "disco", "num_iterations": 2},
    "direct_reward": {"objective": "direct_reward", "shared_prefix": False},
    "anchors": {"objective": "dagrpo", "objective_options": {"anchors": "solution"}},
}


def main() -> None:
    torch.set_num_threads(1)
    like_length.PASS_COST["cpu"] = 0  # several forward passes before one backward pass
    folder, results = Path(sys.argv[1]), {}
    for name, changes in RUNS.items():
        data = sums(8)
        data = data.add_column("solution", [str(i) if i % 3 else "" for i in range(len(data))])
        trainer = (Anchored if name == "anchors" else Checked)(
            folder / name,
            controller=Ragged(),
            train_dataset=data,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            max_steps=3,
            ddp_backend="gloo",
            **changes,
        )
        trainer.train()
        assert trainer.accelerator.num_processes == 2
        results[name] = {"errors": trainer.errors, "norms": trainer.norms, "losses": trainer.losses}
    leave_processes()
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
