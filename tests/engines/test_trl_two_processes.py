"""Two gloo processes, as torchrun starts them: equal state and weights on both, and a resume that
equals the whole run. Each runs this file as a script."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from trl_bench import Ragged, config, train_on_sums

from forked import on_two
from gdro.runs.processes import leave_processes


def test_two_processes(tmp_path):
    for done in on_two(str(tmp_path), script=Path(__file__)):
        assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    for rank in (first, second):
        assert rank.pop("gloo threads") == [], "a thread that outlives the interpreter can abort it"
    for name, mine in first.items():
        assert mine["processes"] == 2
        assert mine | {"rank": 1} == second[name], "both processes hold the same state and weights"
    whole = first["whole"]
    assert whole["told"] == whole["tokens"]
    rows = [np.cumsum([len(group) for group in rewards]) for _, rewards in whole["log"]]
    assert any(8 not in ends for ends in rows), "no group straddled the two processes"
    assert any(rewards != rewards[:1] * len(rewards) for _, rewards in whole["log"])
    for stop in (2, 3):
        part = first[f"from {stop}"]
        assert part["weights"] == whole["weights"]
        assert part["visits"] == whole["visits"]
        assert part["tokens"] == whole["tokens"]
        assert part["losses"] == whole["losses"][len(whole["losses"]) - len(part["losses"]) :]


class Whole(Ragged):
    """Keeps every plan, to show that groups straddle the processes, and counts tokens."""

    needs_tokens = True
    told = 0.0

    def observe_tokens(self, prompt_ids, tokens):
        (plan,) = self.outstanding
        assert tuple(prompt_ids) == plan.prompt_ids
        self.told += float(tokens @ plan.rollouts)


def run(folder: Path, resume: Path | None) -> dict[str, object]:
    controller = Whole(needs_losses=True)
    args = config(
        folder,
        per_device_train_batch_size=4,
        steps_per_generation=2,
        max_steps=6,
        save_strategy="steps" if resume is None else "no",
        save_steps=1,
        ddp_backend="gloo",
    )
    trainer = train_on_sums(args, controller, resume)
    weights = b"".join(p.detach().numpy().tobytes() for p in trainer.model.parameters())
    return {
        "rank": trainer.accelerator.process_index,
        "processes": trainer.accelerator.num_processes,
        "visits": controller.visits,
        "log": controller.log,
        "losses": [values.tolist() for _, values in controller.losses],
        "weights": hashlib.sha256(weights).hexdigest(),
        "tokens": trainer.place.tokens_total,
        "told": round(controller.told),
    }


def threads() -> list[str]:
    """Names of this process's threads (Linux)."""
    return [comm.read_text().strip() for comm in Path("/proc/self/task").glob("*/comm")]


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    results = {"whole": run(folder / "run", None)}
    for stop in (2, 3):
        results[f"from {stop}"] = run(folder / "again", folder / "run" / f"checkpoint-{stop}")
    leave_processes()
    results["gloo threads"] = [name for name in threads() if "gloo" in name]
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
