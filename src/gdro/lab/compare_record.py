"""What the runs of a comparison left on disk, as arrays: answers to held-out prompts at each evaluation, and costs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gdro.core.types import Floats
from gdro.lab.compare_outcome import Outcome, load_outcome, save_outcome
from gdro.lab.compare_plan import Plan
from gdro.lab.gradient_record import read_variance_ratio
from gdro.report.read import Record, RecordError, read_record
from gdro.runs.folder import RunFolder


@dataclass(frozen=True)
class Comparison:
    """All finished runs of a plan.

    Attributes:
        runs: method -> seed -> outcome, methods in the plan's order.
        missing: runs of the plan that are not finished, by title.
        notes: what a reader must know about the data.
        training_sizes: training prompts of each source, where the held-out prompts have other shares; else empty.
    """

    plan: Plan
    runs: dict[str, dict[int, Outcome]]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    training_sizes: Mapping[str, int] = field(default_factory=dict)


def read_comparison(root: Path, plan: Plan, training_sizes: Mapping[str, int] | None = None) -> Comparison:
    """Read every finished run of a comparison's folder, or the outcome that it left; leave those not left yet.

    Raises:
        RecordError: no run of the baseline is finished, a file is damaged, or runs were evaluated on different prompts.
    """
    runs: dict[str, dict[int, Outcome]] = {method: {} for method in plan.methods}
    missing = []
    for seed in plan.seeds:
        for method in plan.methods:
            outcome = _kept_outcome(root, RunFolder(root / method / f"seed-{seed}"))
            if outcome is None:
                missing.append(f"{method} seed {seed}")
            else:
                runs[method][seed] = outcome
    if not runs[plan.against]:
        raise RecordError(f"{root}: no run of the baseline {plan.against} is finished, so there is nothing to compare")
    _same_evaluations(root, runs)
    return Comparison(plan, runs, tuple(missing), tuple(_notes(runs, plan.against)), training_sizes or {})


def _kept_outcome(root: Path, folder: RunFolder) -> Outcome | None:
    """None when the run is neither finished nor has it left its outcome."""
    kept = folder.path.with_name(f"{folder.path.name}.outcome.json")
    outcome = _outcome(folder)
    if outcome is not None:
        if not kept.is_file():
            save_outcome(kept, root, outcome)
        return outcome
    if kept.is_file() and not folder.path.exists():
        return replace(load_outcome(kept, root), gradient=read_variance_ratio(folder))
    return None


def _outcome(folder: RunFolder) -> Outcome | None:
    """None when the run is not finished."""
    if not folder.record.is_file():
        return None
    record = read_record(folder.path)
    steps = [event["step"] for event in record.evaluations]
    if record.end is None or not len(record.steps) or not steps or steps[-1] != record.end.get("step"):
        return None
    tables = [read_evaluation(folder.evaluations / f"step-{step:06d}.jsonl") for step in steps]
    ids, _, samples = tables[0]
    if any(table[0] != ids or table[2] != samples for table in tables):
        raise RecordError(f"{folder.evaluations}: its files hold different prompts or numbers of samples")
    return Outcome(
        ids,
        np.array([correct for _, correct, _ in tables]),
        samples,
        tuple(int(str(step)) for step in steps),
        tuple(_rollouts_at(record, int(str(step))) for step in steps),
        float(np.nanmean(record.scalar("zero_variance_share"))) if record.has("zero_variance_share") else float("nan"),
        float(record.scalar("tokens_total")[-1]),
        float(np.nansum(record.scalar("seconds.step"))),
        read_variance_ratio(folder),
    )


def _rollouts_at(record: Record, step: int) -> float:
    """Rollouts spent up to a step."""
    return float(record.scalar("rollouts_total")[record.steps == step][0]) if step else 0.0


def read_evaluation(path: Path) -> tuple[tuple[str, ...], list[int], int]:
    """Ids, correct samples and the number of samples, in the file's order."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        ids, correct = tuple(row["id"] for row in rows), [int(row["correct"]) for row in rows]
        samples = {int(row["samples"]) for row in rows}
    except FileNotFoundError:
        raise RecordError(f"{path}: missing, though the record names this evaluation") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: damaged ({error!r}); train this run again") from error
    if len(samples) != 1:
        raise RecordError(f"{path}: holds {sorted(samples)} samples a prompt; it must be one number")
    return ids, correct, samples.pop()


def _same_evaluations(root: Path, runs: dict[str, dict[int, Outcome]]) -> None:
    """Raises RecordError unless all runs were tested alike."""
    first: Outcome | None = None
    for method, by_seed in runs.items():
        for seed, outcome in by_seed.items():
            first = first or outcome
            what = {
                "on other prompts": outcome.ids != first.ids,
                "with other samples": outcome.samples != first.samples,
                "at other moments": len(outcome.steps) != len(first.steps),
            }
            for how, differs in what.items():
                if differs:
                    raise RecordError(f"{root / method / f'seed-{seed}'}: evaluated {how} than the others")


def _notes(runs: dict[str, dict[int, Outcome]], baseline: str) -> list[str]:
    notes = []
    for method, by_seed in runs.items():
        pairs = {seed: (outcome, runs[baseline][seed]) for seed, outcome in by_seed.items() if seed in runs[baseline]}
        for seed, (outcome, other) in pairs.items():
            if (outcome.correct[0] != other.correct[0]).any():
                notes.append(f"{method} seed {seed} answered differently from {baseline} before training.")
        unequal = [seed for seed, (outcome, other) in pairs.items() if outcome.rollouts != other.rollouts]
        if unequal:
            own, others = (_spread([pairs[seed][side].rollouts[-1] for seed in unequal]) for side in (0, 1))
            seeds = f"seed{'s' * (len(unequal) > 1)} {', '.join(map(str, unequal))}"
            notes.append(f"{method} spent {own} rollouts ({seeds}), {baseline} {others}.")
        ended = [{pair[side].steps[-1] for pair in pairs.values()} for side in (0, 1)]
        if ended[0] != ended[1]:
            steps, theirs = map(_spread, ended)
            notes.append(f"{method} made {steps} steps of its rollouts, {baseline} {theirs}.")
    return notes


def _spread(values: Collection[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def base_rates(comparison: Comparison) -> Floats:
    """(P,) success rate of each held-out prompt before training, over all seeds of the baseline."""
    outcomes = comparison.runs[comparison.plan.against].values()
    rates = np.array([outcome.correct[0] / outcome.samples for outcome in outcomes])
    return np.asarray(rates.mean(axis=0))
