"""Two processes with halves of each step get what one process with all of it gets, and fail
together. Each runs this file as a script."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from test_robust_contract import METHODS, run, state_of, stream

from forked import on_two
from gdro.core.errors import GDROError


def test_two_processes_are_one(tmp_path):
    for done in on_two(str(tmp_path), script=Path(__file__)):
        assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    for name, make in METHODS.items():
        alone = make()
        expected = run(alone, stream(9))
        for step, weights in enumerate(expected):
            got = found[0][name]["weights"][step] + found[1][name]["weights"][step]
            np.testing.assert_allclose(got, weights, rtol=1e-12, err_msg=name)
        assert found[0][name]["state"] == found[1][name]["state"] == state_of(alone)
        assert len(found[0][name]["errors"]) == len(found[1][name]["errors"]) == 2
        assert "process 1" in found[0][name]["errors"][0]
        assert "nan" in found[1][name]["errors"][0]


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
