"""Cost and memory of controllers, 10^3 to 10^7 prompts, 10^3 to 10^6 rollouts a step
(docs/performance.md).

    OMP_NUM_THREADS=1 python benchmarks/scaling/cost.py     measure all: about 15 minutes, 6 GB
    python benchmarks/scaling/cost.py --largest 1000000     without 10^7 prompts: 2 GB
    python benchmarks/scaling/cost.py --tables              the tables of a measurement, as Markdown

Every cell is a process of its own, one after the other, so that its peak memory is its own. A step
is select (where the method selects, among four times the batch) + plan + observe; its time is the
.1 quantile of the process's CPU time over the steps, which other work on the machine touches least.
What was not measured is filled in from straight lines and marked; how far such a line misses is
checked where both are known. Linux only (reads /proc/self/status).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gdro.controllers.controller import Controller
from gdro.controllers.making import make_controller
from gdro.core.state import load_state, save_state, state_hash
from gdro.lab.bench import Workload
from gdro.lab.text import table

NAMES = (
    "uniform",
    "prompt_gdro",
    "rollout_gdro",
    "joint",
    "sqrt_law",
    "neyman",
    "knapsack",
    "mopps",
)
PROMPTS = (10**3, 10**4, 10**5, 10**6, 10**7)
ROLLOUTS = (10**3, 10**4, 10**5, 10**6)
SMALL_BATCH, SMALL_MEAN, MEAN = 250, 4, 10
OTHER_SHAPES = ((25_000, 4), (2_500, 40))
AT_LARGEST = ("joint", "neyman")
"""Measured at 10^7 prompts: one table of each width, 46 and 62 bytes a prompt. Others are fitted
there."""
OUTPUT = Path("runs/scaling/cost.json")


def memory_mb(field: str) -> float:
    """VmRSS (resident now) or VmHWM (its peak) of this process."""
    found = re.search(
        rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii")
    )
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {field}; this benchmark runs on Linux only")
    return int(found[1]) * 1024 / 1e6


def step_seconds(controller: Controller, workload: Workload, batch: int) -> tuple[float, float]:
    """CPU and wall seconds of one step of the controller alone."""
    ids, rates = workload.batch(4 * batch if controller.selects else batch)
    rate = dict(zip(ids, rates.tolist(), strict=True))
    cpu, wall = time.process_time(), time.perf_counter()
    chosen = controller.select(ids, batch) if controller.selects else ids
    plan = controller.plan(chosen)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    rewards = workload.rewards(np.array([rate[i] for i in chosen]), plan.rollouts)
    more_cpu, more_wall = time.process_time(), time.perf_counter()
    controller.observe(chosen, rewards)
    return cpu + time.process_time() - more_cpu, wall + time.perf_counter() - more_wall


def cell(
    name: str, prompts: int, batch: int, mean: int, steps: int, checkpoint: bool
) -> dict[str, Any]:
    """One measurement in this process; memory is counted from after the imports, ids of the prompts
    included."""
    began = memory_mb("VmRSS")
    controller = make_controller(name, mean_rollouts=mean, max_rollouts=3 * mean)
    workload = Workload(prompts)
    controller.table.admit(controller.table.look_up(workload.ids.tolist()))
    seconds = np.array([step_seconds(controller, workload, batch) for _ in range(steps + 2)][2:])
    found: dict[str, Any] = {
        "controller": name,
        "prompts": prompts,
        "batch": batch,
        "mean_rollouts": mean,
        "steps": steps,
        "cpu_ms": float(np.quantile(seconds[:, 0], 0.1)) * 1e3,
        "wall_ms": float(np.median(seconds[:, 1])) * 1e3,
        "resident_mb": memory_mb("VmRSS") - began,
    }
    if checkpoint:
        found |= checkpoint_cost(
            controller, lambda: make_controller(name, mean_rollouts=mean, max_rollouts=3 * mean)
        )
    return found | {"peak_mb": memory_mb("VmHWM") - began}


def checkpoint_cost(controller: Controller, new: Callable[[], Controller]) -> dict[str, float]:
    """Seconds to write a checkpoint (flush to disk included; best of three) and to read it, and its
    size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.npz"
        saved = [timed(lambda: save_state(path, controller.state_dict())) for _ in range(3)]
        while_saving = memory_mb("VmHWM")
        digest, other = state_hash(controller.state_dict()), new()
        loaded = timed(lambda: other.load_state_dict(load_state(path)))
        size = path.stat().st_size / 1e6
    if state_hash(other.state_dict()) != digest:
        raise RuntimeError("the state did not come back as it was saved")
    best = dict(zip(("save_cpu_s", "save_s"), np.min(saved, axis=0).tolist(), strict=True))
    back = dict(zip(("load_cpu_s", "load_s"), loaded, strict=True))
    return best | back | {"state_mb": size, "process_peak_saving_mb": while_saving}


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """CPU and wall seconds of some work."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(**arguments: Any) -> dict[str, Any]:
    """`cell` in a fresh process."""
    call = [sys.executable, __file__, "--cell", json.dumps(arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{arguments} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    print(
        f"{found['controller']:13} {found['prompts']:>9} {found['batch']:>7} x"
        f" {found['mean_rollouts']:<3}",
        end=" ",
    )
    print(f"{found['cpu_ms']:9.2f} ms {found['peak_mb']:8.1f} MB", flush=True)
    return found


def measure_prompts(names: list[str], largest: int) -> list[dict[str, Any]]:
    """The cells of the tables by prompts that are not left to a fit."""
    return [
        measure(
            name=name,
            prompts=prompts,
            batch=SMALL_BATCH,
            mean=SMALL_MEAN,
            steps=200,
            checkpoint=True,
        )
        for name in names
        for prompts in PROMPTS
        if prompts <= largest and (prompts < PROMPTS[-1] or name in AT_LARGEST)
    ]


def measure_rollouts(names: list[str], most: int) -> list[dict[str, Any]]:
    """The cells of the table by rollouts, and two shapes that tell prompts from rollouts."""
    shapes = [(rollouts // MEAN, MEAN) for rollouts in ROLLOUTS] + list(OTHER_SHAPES)
    found = []
    for name in names:
        for batch, mean in (shape for shape in shapes if shape[0] * shape[1] <= most):
            steps = int(np.clip(10**6 // (batch * mean), 5, 200))
            found.append(
                measure(
                    name=name,
                    prompts=4 * batch,
                    batch=batch,
                    mean=mean,
                    steps=steps,
                    checkpoint=False,
                )
            )
    return found


def tables(record: dict[str, Any]) -> str:
    """The measurement as Markdown; a fitted cell is in italics with a ~."""
    names = list(dict.fromkeys(row["controller"] for row in record["by_prompts"]))
    parts = []
    for key, title, digits in (
        ("cpu_ms", f"step of {SMALL_BATCH} x {SMALL_MEAN} rollouts, CPU ms", 2),
        ("resident_mb", "resident memory, MB (ids included)", 0),
        ("state_mb", "checkpoint, MB", 1),
        ("save_s", "write a checkpoint, s", 3),
        ("load_s", "read a checkpoint, s", 2),
    ):
        body = [[f"`{name}`", *_by_prompts(record, name, key, digits)] for name in names]
        parts.append(table([f"{title}, by prompts", *(f"{count:,}" for count in PROMPTS)], body))
    body = []
    for name in names:
        coefficients, miss = rollout_fit(record, name)
        cells = [_by_rollouts(record, name, coefficients, rollouts) for rollouts in ROLLOUTS]
        slopes = [f"{coefficients[1] * 1e3:.1f}", f"{coefficients[2] * 1e6:.0f}"]
        body.append([f"`{name}`", *cells, *slopes, f"{100 * miss:.0f} %"])
    head = [f"step at nbar = {MEAN}, CPU ms, by rollouts", *(f"{count:,}" for count in ROLLOUTS)]
    parts.append(table([*head, "fit: us a prompt", "ns a rollout", "worst miss"], body))
    parts.append(
        table(
            ["10^7 prompts: line through 10^3 to 10^6 against measured", "line", "measured"],
            _check(record),
        )
    )
    return "\n".join(parts)


def rollout_fit(record: dict[str, Any], name: str) -> tuple[list[float], float]:
    """Milliseconds of a step = c_0 + c_1 prompts + c_2 rollouts, over all shapes measured."""
    rows = [row for row in record["by_rollouts"] if row["controller"] == name]
    sizes = [[row["batch"], row["batch"] * row["mean_rollouts"]] for row in rows]
    return fit(sizes, [row["cpu_ms"] for row in rows])


def fit(columns: ArrayLike, values: ArrayLike) -> tuple[list[float], float]:
    """The coefficients with the least sum of squared relative residuals, and the largest of those
    residuals.

    A cost that grows with its size spans decades, so the residuals are relative: each row is
    divided by its value. Of all supports the best one without a negative coefficient is taken
    (Lawson and Hanson's problem, by enumeration).

    Args:
        columns: (N, K) sizes; a constant is added in front.
        values: (N,) measured costs, above 0.

    Returns:
        K + 1 coefficients, the constant first; and max |fitted / measured - 1|.

    Raises:
        ValueError: fewer rows than coefficients, or a cost that is not above 0.
    """
    x, y = np.asarray(columns, np.float64), np.asarray(values, np.float64)
    design = np.column_stack([np.ones(len(y)), x])
    if len(design) < design.shape[1] or not (y > 0.0).all():
        raise ValueError(
            f"{len(design)} costs, least {y.min()}: need {design.shape[1]} or more, all above 0"
        )
    size = design.max(axis=0)
    scaled, best, least = design / size / y[:, None], np.zeros(design.shape[1]), np.inf
    for support in range(1, 2 ** design.shape[1]):
        chosen = [k for k in range(design.shape[1]) if support >> k & 1]
        solved = np.linalg.lstsq(scaled[:, chosen], np.ones(len(y)), rcond=None)[0]
        loss = float(((scaled[:, chosen] @ solved - 1.0) ** 2).sum())
        if (solved >= 0.0).all() and loss < least:
            least, best = loss, np.zeros(design.shape[1])
            best[chosen] = solved
    residual = float(np.abs(scaled @ best - 1.0).max())
    return (best / size).tolist(), residual


def value(coefficients: list[float], *sizes: float) -> float:
    """c_0 + sum_k c_k x_k."""
    return coefficients[0] + sum(c * x for c, x in zip(coefficients[1:], sizes, strict=True))


def _by_rollouts(
    record: dict[str, Any], name: str, coefficients: list[float], rollouts: int
) -> str:
    shape = (name, rollouts // MEAN, MEAN)
    for row in record["by_rollouts"]:
        if (row["controller"], row["batch"], row["mean_rollouts"]) == shape:
            return f"{row['cpu_ms']:,.1f}"
    return f"*~{value(coefficients, rollouts // MEAN, rollouts):,.1f}*"


def _by_prompts(record: dict[str, Any], name: str, key: str, digits: int) -> list[str]:
    rows = {row["prompts"]: row for row in record["by_prompts"] if row["controller"] == name}
    texts = []
    for count in PROMPTS:
        if count in rows:
            texts.append(f"{rows[count][key]:,.{digits}f}")
        else:
            texts.append(f"*~{_extended(list(rows.values()), key, count):,.{digits}f}*")
    return texts


def _extended(rows: list[dict[str, Any]], key: str, prompts: int) -> float:
    """A step slows down with the cache misses of a larger table, in its logarithm; all else is a
    line."""
    size = np.log10 if key == "cpu_ms" else float
    coefficients, _ = fit([[size(row["prompts"])] for row in rows], [row[key] for row in rows])
    return value(coefficients, float(size(prompts)))


def _check(record: dict[str, Any]) -> list[list[str]]:
    lines = []
    for row in (row for row in record["by_prompts"] if row["prompts"] == PROMPTS[-1]):
        smaller = [
            r for r in record["by_prompts"] if r["controller"] == row["controller"] and r is not row
        ]
        for key in ("cpu_ms", "resident_mb", "state_mb", "save_s", "load_s"):
            line = _extended(smaller, key, PROMPTS[-1])
            lines.append([f"`{row['controller']}` {key}", f"{line:,.2f}", f"{row[key]:,.2f}"])
    return lines


def main() -> int:
    """Measure, write the JSON, print the tables."""
    parser = argparse.ArgumentParser(
        description="Cost and memory of controllers by prompts and by rollouts."
    )
    parser.add_argument(
        "--names", nargs="+", default=list(NAMES), metavar="NAME", help="controllers"
    )
    parser.add_argument(
        "--largest", type=int, default=PROMPTS[-1], metavar="N", help="most prompts to measure"
    )
    parser.add_argument(
        "--rollouts", type=int, default=ROLLOUTS[-1], metavar="N", help="most rollouts to measure"
    )
    parser.add_argument(
        "--only",
        choices=("prompts", "rollouts"),
        help="measure these anew; keep the rest of --output",
    )
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FILE", help="JSON to write, or to read"
    )
    parser.add_argument(
        "--tables", action="store_true", help="print the tables of --output; measure nothing"
    )
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.cell is not None:
        print(json.dumps(cell(**chosen.cell)))
        return 0
    if not chosen.tables:
        record = (
            {} if chosen.only is None else json.loads(chosen.output.read_text(encoding="utf-8"))
        )
        if chosen.only != "rollouts":
            record["by_prompts"] = measure_prompts(chosen.names, chosen.largest)
        if chosen.only != "prompts":
            record["by_rollouts"] = measure_rollouts(chosen.names, chosen.rollouts)
        chosen.output.parent.mkdir(parents=True, exist_ok=True)
        chosen.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(tables(json.loads(chosen.output.read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
