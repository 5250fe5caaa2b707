"""`gdro compare`: methods x seeds on real training, side by side, with one table, one figure and one page.

    gdro compare first                              # a plan of the package -> runs/compare-first
    gdro compare first --methods uniform joint --seeds 0 1 --set steps=120 --output runs/small
    gdro compare my.yaml --check                    # what would run; trains nothing
    gdro compare runs/compare-first                 # go on with what is missing
    gdro compare runs/compare-first --retry         # and try again what failed
    gdro compare runs/compare-first --report        # table.md, results.json, figure.svg, report.html, from the record
    gdro compare runs/compare-first --against live  # the table with another method as the baseline, printed only
    gdro compare runs/compare-first --gradients     # measure the gradient's variance of finished runs, then report

Every run is an ordinary folder COMPARE/METHOD/seed-S. Methods and seeds can be added to COMPARE/compare.yaml later.
A run's folder can be removed once it is reported: seed-S.yaml and seed-S.outcome.json beside it are enough for
everything above, so a comparison of some KB can be published and gone on with. docs/evidence.md says what is measured.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdro.lab.arguments import at_least_one
from gdro.lab.compare_jobs import Place, Pool, cores
from gdro.lab.compare_page import write_page
from gdro.lab.compare_plan import PLAN, Job, Plan, jobs_of, locate_plan, narrowed, plan_text, read_plan
from gdro.lab.compare_record import read_comparison
from gdro.lab.compare_table import markdown, summarize
from gdro.models.locate import locate
from gdro.runs.config import recipe_names
from gdro.runs.config_prompts import training_sizes
from gdro.runs.errors import RunError
from gdro.runs.folder import RunFolder, held

RECIPE = "recipe.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 when every run is done, 1 when some are not.

    Raises:
        ConfigError, ModelError, RunError, RecordError: something the user can mend.
    """
    chosen = _parser().parse_args(arguments)
    going_on = Path(chosen.what).is_dir()
    narrowing = bool(chosen.methods or chosen.seeds or chosen.overrides or chosen.output)
    if going_on and narrowing:
        raise RunError("a comparison goes on with its own plan; leave --methods, --seeds, --set and --output out")
    path = locate_plan(chosen.what)
    plan = narrowed(read_plan(path), chosen.methods, chosen.seeds, chosen.overrides)
    if chosen.gradients:
        return _gradients(Path(chosen.what), plan, jobs_of(plan, path.parent))
    jobs = jobs_of(plan, path.parent)
    if chosen.report or chosen.against:
        for job in jobs:
            Place(Path(chosen.what), job).check()
        root = Path(chosen.what)
        if not chosen.against:
            return _report(root, plan, jobs)
        print(markdown(summary_of(root, plan, jobs, chosen.against)), flush=True)
        return 0
    for model in sorted({job.config.model for job in jobs}):
        locate(model)  # one line now, not one failed run after another
    if chosen.check:
        print(_overview(plan, jobs))
        return 0
    root = path.parent if going_on else _new_root(chosen.output, plan, path.parent)
    with held(RunFolder(root)):
        return _run(root, plan, jobs, chosen.jobs or cores(), chosen.retry)


def _run(root: Path, plan: Plan, jobs: Sequence[Job], at_once: int, retry: bool) -> int:
    places = [Place(root, job) for job in jobs]
    for place in places:
        place.check()
        if retry:
            place.beside("failed").unlink(missing_ok=True)
    todo = [place for place in places if place.state() in ("waiting", "interrupted")]
    _tell(f"{root}: {len(places)} runs, {len(todo)} to do, {min(at_once, len(todo))} side by side")
    pool = Pool(at_once, _tell)
    pool.go(todo)
    states = Counter(place.state() for place in places)
    for place in places:
        if place.state() != "done":
            _tell(f"{place.job.title}: {_why(place)}")
    if states["done"]:
        _report(root, plan, jobs)
    if pool.stopping:
        _tell(f"stopped; go on with: gdro compare {root}")
    return 0 if states["done"] == len(places) else 1


def _why(place: Place) -> str:
    state = place.state()
    if state == "failed":
        reason = place.beside("failed").read_text(encoding="utf-8").strip()
        return f"failed ({reason}); see {place.beside('log')}, and try again with --retry"
    return "another process is at it" if state == "busy" else f"{state}; the same command goes on with it"


def _report(root: Path, plan: Plan, jobs: Sequence[Job]) -> int:
    """Table, figure and page from the record alone."""
    summary = summary_of(root, plan, jobs)
    write_page(root, summary)
    print(f"\n{markdown(summary)}\n{root / 'report.html'}", flush=True)
    return 0 if not summary["missing"] else 1


def summary_of(root: Path, plan: Plan, jobs: Sequence[Job], against: str | None = None) -> dict[str, Any]:
    """What a comparison's record says (`gdro.lab.compare_table.summarize`), with its own baseline or another.

    Raises:
        RunError: the plan has no method `against`.
        RecordError: as in `gdro.lab.compare_record.read_comparison`.
    """
    if against is not None:
        if against not in plan.methods:
            raise RunError(f"--against {against}: not in the plan {plan.name}; it has {', '.join(plan.methods)}")
        plan = plan.model_copy(update={"baseline": against})
    return summarize(read_comparison(root, plan, training_sizes(jobs[0].config.data)))


def _gradients(root: Path, plan: Plan, jobs: Sequence[Job]) -> int:
    """Measure the finished runs that were not measured yet, then report."""
    from gdro.lab.gradient_runs import measure_runs  # torch only here: a comparison's runs are other processes

    if not root.is_dir():
        raise RunError(f"{root}: --gradients measures the finished runs of a comparison; name its folder")
    places = [Place(root, job) for job in jobs]
    with held(RunFolder(root)):
        measure_runs([place.run for place in places if place.state() == "done"], _tell)
        return _report(root, plan, jobs)


def _new_root(output: str | None, plan: Plan, beside: Path) -> Path:
    """The folder of a new comparison, with the plan in it and the recipe when that is a file."""
    root = Path(output or f"runs/compare-{plan.name}")
    if root.exists() and not root.is_dir():
        raise RunError(f"{root} is a file; choose another --output DIR")
    if root.exists() and any(root.iterdir()):
        raise RunError(f"{root} is not empty; go on with it: gdro compare {root}, or choose another --output DIR")
    root.mkdir(parents=True, exist_ok=True)
    if plan.recipe not in recipe_names():
        (root / RECIPE).write_bytes((beside / plan.recipe).read_bytes())
        plan = plan.model_copy(update={"recipe": RECIPE})
    draft = root / f".{PLAN}.tmp"
    draft.write_text(plan_text(plan), encoding="utf-8")
    os.replace(draft, root / PLAN)
    return root


def _overview(plan: Plan, jobs: Sequence[Job]) -> str:
    lines = [f"{plan.name}: {len(plan.methods)} methods x {len(plan.seeds)} seeds = {len(jobs)} runs"]
    lines += [f"each {jobs[0].rollouts:,} rollouts (steps x prompts of a step x rollouts of a prompt){_beyond(jobs)}"]
    for job in jobs[: len(plan.methods)]:
        mark = " (baseline)" if job.method == plan.against else ""
        lines.append(f"  {job.method:24} {job.shape:14} {job.config.controller.name}{mark}")
    return "\n".join(lines)


def _beyond(jobs: Sequence[Job]) -> str:
    """Which methods spend more, if any."""
    sampling = {job.method: job.config.generation for job in jobs}
    more = [name for name, chosen in sampling.items() if chosen.rounds and not chosen.rounds_within_budget]
    return f"; more by rounds: {', '.join(more)}" if more else ""


def _tell(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gdro compare", description="Methods x seeds on real training.")
    parser.add_argument("what", help="a plan's name or YAML file, or the folder of a comparison to go on with")
    parser.add_argument("--output", metavar="DIR", help="folder of a new comparison (runs/compare-NAME)")
    parser.add_argument(
        "--jobs", type=at_least_one, metavar="N", help="runs side by side, one core each (default: all cores)"
    )
    parser.add_argument("--methods", nargs="+", default=[], metavar="NAME", help="only these methods of the plan")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], metavar="S", help="these seeds instead of its own")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change a setting for all"
    )
    parser.add_argument("--retry", action="store_true", help="try failed runs again")
    parser.add_argument("--check", action="store_true", help="check the plan and say what would run")
    parser.add_argument(
        "--gradients", action="store_true", help="measure the gradient's variance of finished runs, then report"
    )
    parser.add_argument("--report", action="store_true", help="only table, figure and page, from the record")
    parser.add_argument("--against", metavar="METHOD", help="only print the table, with this method as the baseline")
    return parser
