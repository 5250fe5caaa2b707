"""`gdro compare`: methods x seeds on real training, side by side, with one table, one figure and
one page.

    gdro compare first_mixture                 # a plan of the package -> runs/compare-first_mixture
    gdro compare first_mixture --methods uniform gdro --seeds 0 1 --output runs/small
    gdro compare my.yaml --check            # what would run; trains nothing
    gdro compare RUNS                       # RUNS, e.g. runs/compare-my: go on with what is missing
    gdro compare RUNS --retry               # and try again what failed
    gdro compare RUNS --report              # table.md, results.json, figure.svg, report.html again
    gdro compare RUNS --against live        # the table with another baseline, printed only
    gdro compare RUNS --publish results/my  # pack it into four small files, for version control
    gdro compare results/my --report        # table.md and figure.svg again, from that folder alone

Every run is an ordinary folder COMPARE/METHOD/seed-S. Methods and seeds can be added to
COMPARE/plan.yaml later. A run's folder can be removed once it is reported: seed-S.yaml and
seed-S.outcome.json beside it are enough for everything above. docs/results.md says what is
measured.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdro.config import recipe_names
from gdro.config.loading import read_recipe, read_settings
from gdro.config.yaml_text import dump_yaml
from gdro.core.errors import DataError, RunError
from gdro.io import write_atomic
from gdro.lab.compare_archive import is_archive, load_archive, save_archive
from gdro.lab.compare_jobs import JobFolder, Pool, cores
from gdro.lab.compare_page import write_page, write_published
from gdro.lab.compare_plan import (
    PLAN,
    ComparisonPlan,
    Job,
    jobs_of,
    locate_plan,
    narrowed,
    plan_text,
    read_plan,
    self_contained,
)
from gdro.lab.compare_record import (
    Comparison,
    comparison_of,
    read_comparison,
    when_and_where,
)
from gdro.lab.compare_summary import summarize
from gdro.lab.compare_table import markdown
from gdro.lab.text import at_least_one
from gdro.models.locate import locate
from gdro.overrides import add_set
from gdro.runs.folder import RunFolder, held
from gdro.runs.prompts import load_prompts, training_sizes

RECIPE = "recipe.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command: 0 when every run is done, 1 when some are not.

    Raises:
        ConfigError, ModelError, RunError, RecordError: something the user can mend.
    """
    chosen = _parser().parse_args(arguments)
    what = Path(chosen.what)
    if is_archive(what):
        return _published(what, chosen)
    going_on = what.is_dir()
    narrowing = bool(chosen.methods or chosen.seeds or chosen.overrides or chosen.output)
    if going_on and narrowing:
        raise RunError(
            "a comparison goes on with its own plan; leave --methods, --seeds, --set and"
            " --output out"
        )
    path = locate_plan(chosen.what)
    plan = narrowed(read_plan(path), chosen.methods, chosen.seeds, chosen.overrides)
    jobs = jobs_of(plan, path.parent)
    if chosen.report or chosen.against or chosen.publish:
        for job in jobs:
            JobFolder(what, job).check()
        comparison = comparison_in(what, plan, jobs)
        if chosen.publish:
            return publish(what, comparison, jobs, Path(chosen.publish))
        return (
            _print_against(comparison, chosen.against)
            if chosen.against
            else _report(what, comparison)
        )
    for model in sorted({job.config.model for job in jobs}):
        locate(model)  # one line now, not one failed run after another
    if chosen.check:
        _tell(_overview(plan, jobs))
        _check_data(jobs)
        return 0
    root = path.parent if going_on else _new_root(chosen.output, plan, path.parent)
    with held(RunFolder(root)):
        return _run(root, plan, jobs, chosen.jobs or cores(), chosen.retry)


def _check_data(jobs: Sequence[Job]) -> None:
    """Load, or make, the prompts of every run once: what would fail in the middle of a comparison
    fails now.

    Raises:
        RunError: the data of a run cannot be had, with the run's name.
    """
    seen: set[str] = set()
    for job in jobs:
        data = job.config.data
        key = data.model_dump_json(exclude={"source_labels"})
        if key not in seen:
            seen.add(key)
            try:
                prompts = load_prompts(data)
            except DataError as error:
                raise RunError(f"{job.title}: {error}") from None
            _tell(
                f"  data of {job.title}: {len(prompts.train):,} prompts to train on,"
                f" {len(prompts.heldout):,} held out"
            )


def _published(folder: Path, chosen: argparse.Namespace) -> int:
    """Report a published comparison, from its folder alone."""
    if not (chosen.report or chosen.against):
        raise RunError(
            f"{folder} is a published comparison: show it again with --report or --against METHOD,"
            f" train it again with gdro compare {folder / PLAN}"
        )
    comparison = load_archive(folder)
    if chosen.against:
        return _print_against(comparison, chosen.against)
    summary = summarize(comparison)
    write_published(folder, summary)
    print(markdown(summary), end="", flush=True)
    return 0


def publish(root: Path, comparison: Comparison, jobs: Sequence[Job], folder: Path) -> int:
    """Pack a comparison that was trained in `root` into plan.yaml, outcomes.npz, table.md and
    figure.svg.

    The published plan has its recipe written out, and says when and on what its runs were made
    (`ran`, unless the plan says that itself), so that it tells by itself what was trained.

    Raises:
        RunError: see `gdro.lab.compare_archive.save_archive`.
    """
    settings: dict[str, dict[int, Any]] = {}
    for job in jobs:
        if job.seed in comparison.runs[job.method]:
            kept = JobFolder(root, job).settings
            settings.setdefault(job.method, {})[job.seed] = read_settings(kept).values
    plan = self_contained(comparison.plan, root)
    plan = plan.model_copy(update={"ran": plan.ran or _ran(root, comparison, folder)})
    whole = Comparison(
        plan, comparison.runs, comparison.missing, comparison.notes, comparison.training_sizes
    )
    save_archive(folder, whole, settings)
    summary = summarize(load_archive(folder))
    write_published(folder, summary)
    print(f"{markdown(summary)}\npublished in {folder}", flush=True)
    return 0


def _ran(root: Path, comparison: Comparison, folder: Path) -> str:
    """When and on what the runs were made: what is published already keeps its words, the rest is
    read from the records."""
    done = [(method, seed) for method, by_seed in comparison.runs.items() for seed in by_seed]
    older = load_archive(folder) if is_archive(folder) else None
    if older is None or older.plan.ran is None:
        return when_and_where(root, done)
    new = [(method, seed) for method, seed in done if seed not in older.runs.get(method, {})]
    return "; ".join([older.plan.ran, *([when_and_where(root, new)] if new else [])])


def _run(root: Path, plan: ComparisonPlan, jobs: Sequence[Job], at_once: int, retry: bool) -> int:
    folders = [JobFolder(root, job) for job in jobs]
    for folder in folders:
        folder.check()
        if retry:
            folder.beside("failed").unlink(missing_ok=True)
    todo = [folder for folder in folders if folder.state() in ("waiting", "interrupted")]
    _tell(f"{root}: {len(folders)} runs, {len(todo)} to do, {min(at_once, len(todo))} side by side")
    pool = Pool(at_once, _tell)
    pool.go(todo)
    states = Counter(folder.state() for folder in folders)
    for folder in folders:
        if folder.state() != "done":
            _tell(f"{folder.job.title}: {_why(folder)}")
    if states["done"]:
        _report(root, comparison_in(root, plan, jobs))
    if pool.stopping:
        _tell(f"stopped; go on with: gdro compare {root}")
    return 0 if states["done"] == len(folders) else 1


def _why(folder: JobFolder) -> str:
    state = folder.state()
    if state == "failed":
        reason = folder.beside("failed").read_text(encoding="utf-8").strip()
        return f"failed ({reason}); see {folder.beside('log')}, and try again with --retry"
    return (
        "another process is at it"
        if state == "busy"
        else f"{state}; `gdro compare FOLDER` goes on with it"
    )


def _report(root: Path, comparison: Comparison) -> int:
    """Table, figure and page from the record alone."""
    summary = summarize(comparison)
    write_page(root, summary)
    print(f"\n{markdown(summary)}\n{root / 'report.html'}", flush=True)
    return 0 if not summary["missing"] else 1


def _print_against(comparison: Comparison, method: str) -> int:
    print(markdown(summarize(from_baseline(comparison, method))), flush=True)
    return 0


def from_baseline(comparison: Comparison, method: str) -> Comparison:
    """The same comparison with another method as the baseline.

    Raises:
        RunError: the plan has no method of that name.
    """
    plan = comparison.plan
    if method not in plan.methods:
        raise RunError(
            f"--against {method}: not in the plan {plan.name}; it has {', '.join(plan.methods)}"
        )
    plan = plan.model_copy(update={"baseline": method, "claims": ()})
    return comparison_of(plan, comparison.runs, comparison.training_sizes, Path(plan.name))


def comparison_in(root: Path, plan: ComparisonPlan, jobs: Sequence[Job]) -> Comparison:
    """What the folder of a comparison has of its runs.

    Raises:
        RecordError: as in `gdro.lab.compare_record.read_comparison`.
    """
    sizes = {job.seed: training_sizes(job.config.data) for job in jobs[:: len(plan.methods)]}
    return read_comparison(
        root, plan, {seed: of_source for seed, of_source in sizes.items() if of_source}
    )


def _new_root(output: str | None, plan: ComparisonPlan, beside: Path) -> Path:
    """The folder of a new comparison, with the plan in it and the recipe when that is a file."""
    root = Path(output or f"runs/compare-{plan.name}")
    if root.exists() and not root.is_dir():
        raise RunError(f"{root} is a file; choose another --output DIR")
    if root.exists() and any(root.iterdir()):
        raise RunError(
            f"{root} is not empty; go on with it: gdro compare {root}, or choose another"
            " --output DIR"
        )
    root.mkdir(parents=True, exist_ok=True)
    if plan.recipe is not None and plan.recipe not in recipe_names():
        write_atomic(root / RECIPE, dump_yaml(read_recipe(plan.recipe, beside).values))
        plan = plan.model_copy(update={"recipe": RECIPE})
    write_atomic(root / PLAN, plan_text(plan))
    return root


def _overview(plan: ComparisonPlan, jobs: Sequence[Job]) -> str:
    lines = [
        f"{plan.name}: {len(plan.methods)} methods x {len(plan.seeds)} seeds = {len(jobs)} runs"
    ]
    lines += [
        f"each {jobs[0].rollouts:,} rollouts (steps x prompts of a step x rollouts of a"
        f" prompt){_beyond(jobs)}"
    ]
    for job in jobs[: len(plan.methods)]:
        mark = " (baseline)" if job.method == plan.against else ""
        lines.append(f"  {job.method:24} {job.shape:14} {job.config.controller.name}{mark}")
    lines += [
        f"  claim: {claim.method} - {claim.against} in {claim.score}" for claim in plan.claims
    ]
    return "\n".join(lines)


def _beyond(jobs: Sequence[Job]) -> str:
    """Which methods spend more, if any."""
    sampling = {job.method: job.config.generation for job in jobs}
    more = [
        name
        for name, chosen in sampling.items()
        if chosen.rounds and not chosen.rounds_within_budget
    ]
    return f"; more by rounds: {', '.join(more)}" if more else ""


def _tell(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gdro compare", description="Methods x seeds on real training."
    )
    parser.add_argument(
        "what",
        help="a plan's name or YAML file, or the folder of a comparison to go on with or report",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder of a new comparison (runs/compare-NAME)"
    )
    parser.add_argument(
        "--jobs",
        type=at_least_one,
        metavar="N",
        help="runs side by side, one core each (default: all cores)",
    )
    parser.add_argument(
        "--methods", nargs="+", default=[], metavar="NAME", help="only these methods of the plan"
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[],
        metavar="S",
        help="these seeds instead of its own",
    )
    add_set(parser, "change a setting for all")
    parser.add_argument("--retry", action="store_true", help="try failed runs again")
    parser.add_argument(
        "--check", action="store_true", help="check the plan and its data, say what would run"
    )
    parser.add_argument(
        "--report", action="store_true", help="only table, figure and page, from the record"
    )
    parser.add_argument(
        "--against", metavar="METHOD", help="only print the table, with this method as the baseline"
    )
    parser.add_argument(
        "--publish",
        metavar="DIR",
        help="pack what is finished into DIR, four files for version control; the plan there says"
        " when and on what machine the runs were made, unless it says so already",
    )
    return parser
