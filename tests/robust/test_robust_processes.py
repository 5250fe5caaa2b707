"""Two processes with halves of each step get what one process with all of it gets, and fail
together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from robust_methods import METHODS
from test_robust_contract import run, state_of, stream

from forked import on_two

HERE = Path(__file__).parent


def test_two_processes_are_one(tmp_path):
    for done in on_two(str(tmp_path), script=HERE / "robust_two_processes.py"):
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
