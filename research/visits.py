"""How often a finished run visited the prompts of each source, and whether it learnt them or learnt
them by heart.

    python research/visits.py runs/compare-second/live/seed-10
    python research/visits.py results/second_grid --methods uniform joint

Of a run one row a source: its prompts that were visited, visits of one, share of all visits, the
controller's estimate of the success rate on them at the end (for training prompts), and the success
rate on the held-out ones. An estimate far above the held-out rate says that the prompts were
repeated until they were known by heart.

Of a published comparison pass@k / mean@k of every source after the last step, by method, means over
seeds. A source whose pass@k falls while its mean@k rises is one that the model guesses: its answers
grow alike.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gdro.config import controller_of, load_config
from gdro.core.errors import GDROError, RunError
from gdro.core.prompts import PromptTable, source_of
from gdro.engines.interface import Controller
from gdro.engines.session import ControllerSession
from gdro.engines.states import load_session
from gdro.engines.trl.checkpoint import STATE_FILE
from gdro.lab.compare_archive import is_archive, load_archive
from gdro.lab.compare_record import Comparison
from gdro.lab.text import table
from gdro.report.read import read_evaluation
from gdro.runs.checkpoints import all_checkpoints, fault
from gdro.runs.folder import RunFolder


def rows(run: RunFolder) -> list[tuple[str, int, float, float, float, float]]:
    """Source, prompts, visits a prompt, share of visits, estimate, held-out rate."""
    controller = controller_at_end(run)
    known: PromptTable = controller.table
    source = np.array([source_of(prompt_id) for prompt_id in known.ids])
    visits, estimate = known.column("visits").astype(float), known.column("estimate")
    held = defaultdict(list)
    evaluations = sorted(run.evaluations.glob("step-*.jsonl"))
    if not evaluations:
        raise RunError(
            f"{run.evaluations}: no evaluation there; a run without held-out prompts cannot be"
            " compared so"
        )
    ids, correct, samples = read_evaluation(evaluations[-1])
    for prompt_id, right in zip(ids, correct, strict=True):
        held[source_of(prompt_id)].append(right / samples)
    found = []
    for name in sorted(set(source)):
        mine = source == name
        share = visits[mine].sum() / visits.sum()
        found.append(
            (
                name,
                int(mine.sum()),
                visits[mine].mean(),
                share,
                estimate[mine].mean(),
                np.mean(held[name]),
            )
        )
    return found


def by_source(comparison: Comparison, methods: Sequence[str]) -> str:
    """One row a source; in each cell pass@k / mean@k after the last step."""
    outcomes = {method: list(comparison.runs[method].values()) for method in methods}
    ids = outcomes[methods[0]][0].ids
    source = np.array([source_of(prompt_id) for prompt_id in ids])
    rows = []
    for name in sorted(set(source)):
        cells = []
        for method in methods:
            last = np.array(
                [outcome.correct[-1] / outcome.samples for outcome in outcomes[method]]
            )[:, source == name]
            cells.append(f"{(last > 0).mean():.3f} / {last.mean():.3f}")
        rows.append([name, *cells])
    return table(["source", *(f"`{method}`" for method in methods)], rows)


def controller_at_end(run: RunFolder) -> Controller:
    """A finished run's controller, with the state of its last whole checkpoint.

    Raises:
        RunError: the run has no whole checkpoint.
    """
    controller = controller_of(load_config(run.config))
    whole = next(
        (folder for folder in all_checkpoints(run.checkpoints) if fault(folder) is None), None
    )
    if whole is None:
        raise RunError(
            f"{run.checkpoints}: no whole checkpoint, so the run's controller is lost; train the"
            " run again"
        )
    load_session(whole / STATE_FILE, ControllerSession(controller))
    return controller


def compared(folder: Path, methods: Sequence[str] | None) -> str:
    """The table of a published comparison; of all methods with a finished run when None.

    Raises:
        RunError: a method without one.
    """
    comparison = load_archive(folder)
    there = [method for method, runs in comparison.runs.items() if runs]
    for method in methods or ():
        if method not in there:
            raise RunError(
                f"--methods {method}: no finished run in {folder}; it has {', '.join(there)}"
            )
    return by_source(comparison, methods or there)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description="Visits, estimates and held-out rates of a finished run, by source."
    )
    parser.add_argument(
        "run", type=Path, help="folder of a finished run of gdro train, or a published comparison"
    )
    parser.add_argument("--methods", nargs="+", help="of a comparison, only these (default: all)")
    chosen = parser.parse_args(arguments)
    try:
        if is_archive(chosen.run):
            print(compared(chosen.run, chosen.methods), end="")
            return 0
        found = rows(RunFolder(chosen.run))
    except GDROError as error:
        print(f"visits: {error}", file=sys.stderr)
        return 2
    heads = ["source", "prompts", "visits of one", "share of visits", "estimate", "held-out rate"]
    cells = [
        [
            name,
            str(prompts),
            f"{each:.1f}",
            f"{100 * share:.1f} %",
            f"{estimate:.2f}",
            f"{held:.2f}",
        ]
        for name, prompts, each, share, estimate, held in found
    ]
    print(table(heads, cells), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
