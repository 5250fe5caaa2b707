"""Run by test_robust_processes: each of two processes holds half of every step and writes what it
got."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from robust_methods import METHODS
from test_robust_contract import state_of, stream

from gdro.core.errors import GDROError


def main(folder: str, rank: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found: dict[str, object] = {}
    for name, make in METHODS.items():
        method, weights = make(), []
        for step, (losses, groups, ids) in enumerate(stream(9)):
            cut = (0, 12, 7)[step % 3]  # one process may have nothing
            own = slice(cut, None) if rank else slice(0, cut)
            weights.append(method(losses[own], groups[own], ids[own]).tolist())
            if step % 4 == 3:
                method.epoch_end()
        errors = []
        for bad in (torch.tensor([float("nan")]), torch.tensor([1])):
            try:
                method(bad if rank else torch.ones(1), torch.tensor([0]), torch.tensor([0]))
            except GDROError as error:
                errors.append(str(error))
        found[name] = {"weights": weights, "state": state_of(method), "errors": errors}
    Path(folder, f"rank{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(os.environ["RANK"]))
