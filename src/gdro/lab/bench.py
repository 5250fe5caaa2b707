"""`gdro bench`: what a controller costs on the machine at hand, all of plan + observe on one core.

gdro bench controllers          every controller at 256 x 4 and 1,024 x 16 (prompts x mean rollouts)
gdro bench selection            those that choose prompts: choosing as many among their candidates
gdro bench million              one million prompts: memory, state size, seconds for a checkpoint

Times are the process's own (CPU time), so that other work on the machine counts as little as it
can: by colder caches alone. Writing and reading a checkpoint is by the clock.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gdro.controllers.controller import Controller
from gdro.controllers.making import make_controller
from gdro.controllers.registry import controller_names
from gdro.core.prompts import IdSubset
from gdro.core.state import load_state, save_state, state_hash
from gdro.core.types import Floats
from gdro.io import to_json
from gdro.lab.text import at_least_one

LIMITS_MS = {(256, 4): 2.0, (1024, 16): 10.0}
"""(prompts, mean rollouts) -> milliseconds for plan + observe, where no texts are fitted to."""
CHOICE_LIMITS_MS = {16_384: 8.0, 65_536: 35.0}
"""Candidates -> milliseconds that choosing among them may take."""

WARM_UP = 20
"""Steps before the timed ones."""
BYTES_PER_ID = 60
"""A Python string of about 10 characters; plan and observe each read every id."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one controller at one batch size.

    Attributes:
        quiet_ms, median_ms, p95_ms: quantiles .1, .5 and .95 of plan + observe (+ observe_losses
            where needed) over all timed steps. On an idle core they lie close together; on a busy
            one the first comes nearest to the cost.
        floor_ms: the time in which memory delivers the bytes that a step must touch: rewards, ids,
            table rows.
        calls: Python and C function calls of one step; at this size their overhead is the cost, not
            memory.
        limit_ms: what the project allows; None where it says nothing.
    """

    controller: str
    prompts: int
    mean_rollouts: int
    steps: int
    quiet_ms: float
    median_ms: float
    p95_ms: float
    floor_ms: float
    calls: int
    limit_ms: float | None


class Workload:
    """Batches of a pool of prompts with known pass rates; rewards as an engine gives them, one
    array a prompt."""

    def __init__(self, pool: int, sources: int = 1) -> None:
        names = ["prompt"] if sources == 1 else [f"prompt_{source}" for source in range(sources)]
        self.generator = np.random.default_rng(0)
        self.ids = np.array([f"{names[i % sources]}/{i}" for i in range(pool)], dtype=object)
        self.rates = self.generator.beta(0.6, 0.6, pool)

    def tell(self, controller: Controller) -> list[str]:
        """Tell of every prompt, whose id is its text, and give the ids."""
        everyone: list[str] = self.ids.tolist()
        controller.describe(everyone, everyone)
        return everyone

    def batch(self, prompts: int) -> tuple[list[str], Floats]:
        """Ids and pass rates of a random batch."""
        chosen = self.generator.choice(len(self.ids), prompts, replace=False)
        return self.ids[chosen].tolist(), self.rates[chosen]

    def rewards(self, rates: Floats, rollouts: np.ndarray) -> list[np.ndarray]:
        """0/1 rewards of a plan."""
        flat = (self.generator.random(int(rollouts.sum())) < np.repeat(rates, rollouts)).astype(
            np.float64
        )
        return np.split(flat, np.cumsum(rollouts)[:-1])


def controller_cost(
    name: str,
    prompts: int,
    mean_rollouts: int,
    steps: int = 200,
    **options: Any,
) -> Cost:
    """Time plan + observe over varying batches from a pool of 4 batches' prompts.

    Args:
        name: of the controller; `options` are its own.
        prompts: M, prompts of a batch.
        mean_rollouts: nbar; arms reach to 3 nbar.
        steps: timed steps, after WARM_UP others.
    """
    controller = make_controller(
        name, mean_rollouts=mean_rollouts, max_rollouts=3 * mean_rollouts, **options
    )
    workload = Workload(4 * prompts)
    workload.tell(controller)
    seconds = [_step(controller, workload, prompts) for _ in range(WARM_UP + steps)][WARM_UP:]
    quiet, median, high = np.quantile(seconds, [0.1, 0.5, 0.95]) * 1e3
    traffic = prompts * (
        8 * mean_rollouts + 2 * BYTES_PER_ID + 2 * controller.table.bytes_per_prompt
    )
    return Cost(
        name,
        prompts,
        mean_rollouts,
        steps,
        float(quiet),
        float(median),
        float(high),
        traffic / _bandwidth() * 1e3,
        _count_calls(controller, workload, prompts),
        None if controller.reads_texts else LIMITS_MS.get((prompts, mean_rollouts)),
    )


@dataclass(frozen=True, slots=True)
class ChoiceCost:
    """Cost of choosing a batch.

    Attributes:
        prompts: M, chosen among `candidates`.
        quiet_ms, median_ms: quantiles .1 and .5 of `select` over all timed steps.
        us_a_candidate: quiet_ms by candidate.
        limit_ms: what the project allows; None where it says nothing.
    """

    controller: str
    prompts: int
    candidates: int
    steps: int
    quiet_ms: float
    median_ms: float
    us_a_candidate: float
    limit_ms: float | None


def selection_cost(name: str, prompts: int, steps: int = 50) -> ChoiceCost:
    """Time `select` among `pool_factor` candidates a prompt, offered as an engine does: a subset of
    a training set of four times as many prompts in 50 sources, each of which was offered before.

    Args:
        name: of a controller that selects.
        prompts: M, prompts of a batch.
        steps: timed choices; WARM_UP batches are planned and observed before them.
    """
    controller = make_controller(name)
    offered = controller.pool_factor * prompts
    workload = Workload(4 * offered, sources=50)
    everyone = tuple(workload.tell(controller))
    controller.belief(IdSubset(everyone, np.arange(len(everyone))))
    for _ in range(WARM_UP):
        _step(controller, workload, prompts)
    seconds = []
    for _ in range(steps):
        subset = IdSubset(
            everyone, workload.generator.choice(len(everyone), offered, replace=False)
        )
        start = time.process_time()
        controller.select(subset, prompts)
        seconds.append(time.process_time() - start)
        _step(controller, workload, prompts)
    quiet, median = map(float, np.quantile(seconds, [0.1, 0.5]) * 1e3)
    limit = CHOICE_LIMITS_MS.get(offered)
    return ChoiceCost(name, prompts, offered, steps, quiet, median, quiet * 1e3 / offered, limit)


def selecting_names() -> list[str]:
    """Controllers that choose prompts."""
    return [name for name in controller_names() if make_controller(name).selects]


def choice_table(costs: Sequence[ChoiceCost]) -> str:
    """The costs as lines of text."""
    lines = [
        f"{'controller':<15}{'prompts':>9}{'candidates':>12}{'quiet ms':>10}"
        f"{'median ms':>11}{'us each':>9}{'limit':>7}"
    ]
    for cost in costs:
        lines.append(
            f"{cost.controller:<15}{cost.prompts:>9}{cost.candidates:>12,}{cost.quiet_ms:>10.2f}"
            f"{cost.median_ms:>11.2f}{cost.us_a_candidate:>9.2f}{_limit(cost):>7}"
        )
    return "\n".join(lines)


def _step(controller: Controller, workload: Workload, prompts: int) -> float:
    """One step; only the controller's own time, in seconds."""
    ids, rates = workload.batch(prompts)
    start = time.process_time()
    plan = controller.plan(ids)
    taken = time.process_time() - start
    rewards, losses = workload.rewards(rates, plan.rollouts), np.zeros(prompts)
    start = time.process_time()
    controller.observe(ids, rewards)
    if controller.needs_losses:
        controller.observe_losses(ids, losses)
    if controller.needs_tokens:
        controller.observe_tokens(ids, np.ones(prompts))
    return taken + time.process_time() - start


def _count_calls(controller: Controller, workload: Workload, prompts: int) -> int:
    """Function calls, Python's and C's, inside plan and observe of one step."""
    ids, rates = workload.batch(prompts)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        plan = controller.plan(ids)
        sys.setprofile(None)
        rewards = workload.rewards(rates, plan.rollouts)
        sys.setprofile(count)
        controller.observe(ids, rewards)
    finally:
        sys.setprofile(None)
    return calls


def _bandwidth() -> float:
    """Bytes a second that one core copies (read + written), best of five 64 MB copies."""
    source = np.ones(8 * 2**20)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return 2 * source.nbytes / best


@dataclass(frozen=True, slots=True)
class Million:
    """What many prompts cost.

    Attributes:
        step_ms_first, step_ms_last: median step over the first and the last hundred steps.
        state_mb: size of the saved state; save_s, load_s: seconds to write it (fsync included) and
            read it.
        rss_mb_early, rss_mb_late: resident memory after a tenth of the steps and after all.
    """

    controller: str
    prompts: int
    steps: int
    step_ms_first: float
    step_ms_last: float
    state_mb: float
    save_s: float
    load_s: float
    bytes_per_prompt: int
    rss_mb_early: float
    rss_mb_late: float


def million_prompts(name: str, steps: int = 1000) -> Million:
    """Let a controller visit a million prompts about once, save and load the state, and check that
    it came back whole."""
    prompts, batch = 1_000_000, 1024
    controller, workload = make_controller(name), Workload(prompts)
    controller.table.admit(controller.table.look_up(workload.tell(controller)))
    seconds, resident = [], []
    for step in range(steps):
        seconds.append(_step(controller, workload, batch))
        if step + 1 in (max(steps // 10, 1), steps):
            resident.append(_resident_mb())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.npz"
        start = time.perf_counter()
        save_state(path, controller.state_dict())
        saved = time.perf_counter()
        other = make_controller(name)
        other.load_state_dict(load_state(path))
        loaded = time.perf_counter()
        size = path.stat().st_size
    if state_hash(other.state_dict()) != state_hash(controller.state_dict()):
        raise RuntimeError("the state did not come back as it was saved")
    window = min(100, steps)
    return Million(
        name,
        prompts,
        steps,
        float(np.median(seconds[:window])) * 1e3,
        float(np.median(seconds[-window:])) * 1e3,
        size / 1e6,
        saved - start,
        loaded - saved,
        controller.table.bytes_per_prompt,
        resident[0],
        resident[-1],
    )


def _resident_mb() -> float:
    """Resident memory now where the system tells it (Linux), else its peak."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def cost_table(costs: Sequence[Cost]) -> str:
    """The costs as lines of text."""
    lines = [
        f"{'controller':<15}{'batch':>10}{'quiet ms':>10}{'median ms':>11}{'p95 ms':>9}{'limit':>7}"
        f"{'floor us':>10}{'calls':>7}"
    ]
    for cost in costs:
        size = f"{cost.prompts}x{cost.mean_rollouts}"
        lines.append(
            f"{cost.controller:<15}{size:>10}{cost.quiet_ms:>10.2f}{cost.median_ms:>11.2f}"
            f"{cost.p95_ms:>9.2f}{_limit(cost):>7}{cost.floor_ms * 1e3:>10.1f}{cost.calls:>7}"
        )
    return "\n".join(lines)


def _limit(cost: Cost | ChoiceCost) -> str:
    return "" if cost.limit_ms is None else f"{cost.limit_ms:g}"


def main(argv: Sequence[str]) -> int:
    """The command line of `gdro bench`; 1 when a median lies above its limit."""
    parser = argparse.ArgumentParser(
        prog="gdro bench", description="What a controller costs on this machine."
    )
    parser.add_argument(
        "what", nargs="?", choices=("controllers", "selection", "million"), default="controllers"
    )
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="those to time (default: all; million: joint)"
    )
    parser.add_argument(
        "--steps",
        type=at_least_one,
        help="timed steps (controllers: 200, selection: 50, million: 1000)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    chosen = parser.parse_args(list(argv))
    if chosen.json is not None:
        chosen.json.open("a").close()  # what cannot be written is told before the timing
    if chosen.what == "million":
        names = chosen.names or ["joint"]
        figures: list[Any] = [million_prompts(name, steps=chosen.steps or 1000) for name in names]
        for figure in figures:
            print("\n".join(f"{key:<18}{value}" for key, value in asdict(figure).items()))
    elif chosen.what == "selection":
        names = chosen.names or selecting_names()
        figures = [
            selection_cost(name, prompts, chosen.steps or 50)
            for prompts, _ in LIMITS_MS
            for name in names
        ]
        print(choice_table(figures))
    else:
        figures = [
            controller_cost(name, prompts, mean, chosen.steps or 200)
            for prompts, mean in LIMITS_MS
            for name in chosen.names or controller_names()
        ]
        print(cost_table(figures))
    if chosen.json is not None:
        chosen.json.write_text(to_json([asdict(entry) for entry in figures], indent=1) + "\n")
    late = [
        cost
        for cost in figures
        if isinstance(cost, Cost | ChoiceCost) and cost.limit_ms and cost.median_ms > cost.limit_ms
    ]
    for cost in late:
        print(
            f"over its limit: {cost.controller}, {cost.prompts} prompts,"
            f" {cost.median_ms:.2f} ms of {cost.limit_ms:g}; a busy machine has colder caches"
        )
    return 1 if late else 0
