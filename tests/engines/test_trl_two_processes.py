"""Two gloo processes, as torchrun starts them: equal state and weights on both, and a resume that
equals the whole run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from forked import on_two


def test_two_processes(tmp_path):
    script = Path(__file__).with_name("two_processes.py")
    for done in on_two(str(tmp_path), script=script):
        assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    for rank in (first, second):
        assert rank.pop("gloo threads") == [], "a thread that outlives the interpreter can abort it"
    for name, mine in first.items():
        assert mine["processes"] == 2
        assert mine | {"rank": 1} == second[name], "both processes hold the same state and weights"
    whole = first["whole"]
    rows = [np.cumsum([len(group) for group in rewards]) for _, rewards in whole["log"]]
    assert any(8 not in ends for ends in rows), "no group straddled the two processes"
    assert any(rewards != rewards[:1] * len(rewards) for _, rewards in whole["log"])
    for stop in (2, 3):
        part = first[f"from {stop}"]
        assert part["weights"] == whole["weights"]
        assert part["visits"] == whole["visits"]
        assert part["tokens"] == whole["tokens"]
        assert part["losses"] == whole["losses"][len(whole["losses"]) - len(part["losses"]) :]
