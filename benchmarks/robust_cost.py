"""What the robust methods cost: seconds for the weights of a step beside the step itself, and bytes
for a million ids.

    python benchmarks/robust_cost.py  # ten minutes on one core; writes runs/robust_cost.json

The step is forward, backward and AdamW of the embedded language model (0.9 M parameters) on 16
texts of 64 tokens: a small step, so a large share. Weights are those of 16 samples, of which a
method remembers a million. Medians. "at the most" counts what `epoch_end` needs while it works.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from gdro.robust.base import RobustMethod
from gdro.robust.registry import ERM, make_method, method_names
from gdro.tiny import base_path

GROUPS = [f"source {n}" for n in range(8)]
ROWS, TOKENS, KNOWN, REPEATS = 16, 64, 1_000_000, 100


def main() -> int:
    torch.set_num_threads(1)
    step = median(training_step(), 10)
    rows = {}
    print(
        f"step {1e3 * step:.1f} ms\n\n| method | weights (ms) | share of the step | bytes an id |"
        " at the most |"
    )
    print("|---|---:|---:|---:|---:|")
    for name in method_names():
        if name == ERM:
            continue
        method = make_method(name, GROUPS)
        size, most = fill(method) if method.needs_ids else (0.0, 0.0)
        seconds = median(weights(method), REPEATS)
        rows[name] = {
            "milliseconds": 1e3 * seconds,
            "share": seconds / step,
            "bytes_an_id": size,
            "bytes_an_id_at_the_most": most,
        }
        memory = f"{size:.0f} | {most:.0f}" if size else "- | -"
        print(
            f"| {name} | {1e3 * seconds:.3f} | {100 * seconds / step:.2f} % | {memory} |",
            flush=True,
        )
    target = Path("runs/robust_cost.json")
    target.parent.mkdir(exist_ok=True)
    target.write_text(
        json.dumps({"step_milliseconds": 1e3 * step, "methods": rows}, indent=1) + "\n"
    )
    return 0


def training_step() -> Callable[[], None]:
    """One step of the embedded model."""
    model = AutoModelForCausalLM.from_pretrained(base_path(), dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    ids = torch.randint(3, 700, (ROWS, TOKENS), generator=torch.Generator().manual_seed(0))

    def run() -> None:
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()

    return run


def fill(method: RobustMethod) -> tuple[float, float]:
    """Let the method meet a million ids; bytes of its memory for each, the samples still in its
    dictionary at 120, and with what `epoch_end` takes at the most."""
    order = np.random.default_rng(0).permutation(KNOWN)
    tracemalloc.start()
    for start in range(0, KNOWN, 10_000):
        ids = torch.from_numpy(order[start : start + 10_000])
        method.observe(torch.rand(len(ids)), ids % len(GROUPS), ids)
    table = method._samples  # type: ignore[attr-defined]
    tracemalloc.reset_peak()
    method.epoch_end()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(table.nbytes + 120 * len(table._recent)) / len(table), most / len(table)


def weights(method: RobustMethod) -> Callable[[], None]:
    """One call with samples that are known, as in every epoch after the first."""
    generator = torch.Generator().manual_seed(1)

    def run() -> None:
        ids = torch.randint(KNOWN, (ROWS,), generator=generator)
        method(torch.rand(ROWS, generator=generator), ids % len(GROUPS), ids)

    return run


def median(work: Callable[[], None], repeats: int) -> float:
    """Median CPU seconds of a call, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
