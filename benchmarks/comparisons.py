"""Several comparisons in one folder, each an ordinary one in a folder of its own: train them, read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gdro.lab.compare import main as compare
from gdro.lab.compare import summary_of
from gdro.lab.compare_plan import Plan, jobs_of, narrowed, plan_text, read_plan


def train(root: Path, plans: Mapping[str, Plan], jobs: int | None = None) -> int:
    """Run or go on with every comparison, root/NAME by its plan; 0 when all are done.

    Args:
        jobs: runs side by side; None is one a core.
    """
    options = [] if jobs is None else ["--jobs", str(jobs)]
    worst = 0
    for name, plan in plans.items():
        file = root / name / "compare.yaml"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(plan_text(plan), encoding="utf-8")
        worst = max(worst, compare([str(file.parent), *options]))
    return worst


def read(folder: Path, against: str | None = None, methods: Sequence[str] = ()) -> dict[str, Any]:
    """The summary of one comparison, as differences from its baseline or another method, of these methods or all."""
    plan = narrowed(read_plan(folder / "compare.yaml"), methods, (), ())
    one = narrowed(plan, [plan.against], plan.seeds[:1], ())  # the data are the same for all
    return summary_of(folder, plan, jobs_of(one, folder), against)
