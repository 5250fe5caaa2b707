"""What the runs of a comparison left on disk, as arrays: answers to held-out prompts at each
evaluation, and costs.

A finished run leaves COMPARE/METHOD/seed-S.outcome.json beside its folder: what it answered and
what it cost. With seed-S.yaml, its settings, that is all a report needs, so a run's folder (tens of
MB) may go once it is reported. `gdro.lab.compare_archive` packs a whole comparison into one file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gdro.core.types import Floats, Ints
from gdro.io import to_json, write_atomic
from gdro.lab.compare_plan import ComparisonPlan
from gdro.report.read import Record, RecordError, read_evaluation, read_record
from gdro.runs.folder import RunFolder
from gdro.runs.record import Event, machine_words, start_of

FORMAT = 2


@dataclass(frozen=True)
class RunResult:
    """One finished run.

    Attributes:
        ids: (P,) held-out prompts.
        correct: (E, P) correct samples at each evaluation.
        samples: of a prompt, the k of pass@k.
        steps, rollouts, tokens, seconds: (E,) where the evaluations stand: what training had taken
            by then; NaN where it is not known.
        trained_tokens: (E,) completion tokens that went through training passes by then: those of
            rollouts without a gradient, left out, are not among them.
        dead: share of groups without a gradient, mean over the steps.
        training_reward: mean reward of the rollouts over the last tenth of the steps; NaN when
            unknown.
    """

    ids: tuple[str, ...]
    correct: Ints
    samples: int
    steps: tuple[int, ...]
    rollouts: tuple[float, ...]
    tokens: tuple[float, ...]
    seconds: tuple[float, ...]
    dead: float
    training_reward: float
    trained_tokens: tuple[float, ...]


@dataclass(frozen=True)
class Ran:
    """When (day, UTC), on what kind of machine and with which code a run began."""

    day: str
    machine: str
    code: str


@dataclass(frozen=True)
class Comparison:
    """All finished runs of a plan.

    Attributes:
        runs: method -> seed -> result, methods in the plan's order.
        missing: runs of the plan that are not finished, by title.
        notes: what a reader must know about the data.
        training_sizes: seed -> training prompts of each source; a seed is there where its held-out
            prompts have other shares than its training prompts.
    """

    plan: ComparisonPlan
    runs: dict[str, dict[int, RunResult]]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    training_sizes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)

    @cached_property
    def fresh_data(self) -> bool:
        """Whether seeds were tested on different prompts: each is a replicate with data of its
        own."""
        return (
            len({result.ids for by_seed in self.runs.values() for result in by_seed.values()}) > 1
        )


def read_comparison(
    root: Path, plan: ComparisonPlan, training_sizes: Mapping[int, Mapping[str, int]] | None = None
) -> Comparison:
    """Read every finished run of a comparison's folder, or the outcome that it left; leave those
    not left yet.

    Raises:
        RecordError: no run of the baseline is finished, a file is damaged, or runs were evaluated
            on different prompts.
    """
    runs: dict[str, dict[int, RunResult]] = {method: {} for method in plan.methods}
    for seed in plan.seeds:
        for method in plan.methods:
            result = _kept_result(root, RunFolder(root / method / f"seed-{seed}"))
            if result is not None:
                runs[method][seed] = result
    return comparison_of(plan, runs, training_sizes or {}, root)


def comparison_of(
    plan: ComparisonPlan,
    runs: dict[str, dict[int, RunResult]],
    training_sizes: Mapping[int, Mapping[str, int]],
    root: Path,
) -> Comparison:
    """The runs as a comparison, checked; `root` is named in errors.

    Raises:
        RecordError: no run of the baseline, or runs that were not tested alike.
    """
    if not runs[plan.against]:
        raise RecordError(
            f"{root}: no run of the baseline {plan.against} is finished, so there is nothing to"
            " compare"
        )
    _same_evaluations(root, plan, runs)
    missing = tuple(f"{m} seed {s}" for s in plan.seeds for m in plan.methods if s not in runs[m])
    return Comparison(plan, runs, missing, tuple(_notes(runs, plan.against)), training_sizes)


def _kept_result(root: Path, folder: RunFolder) -> RunResult | None:
    """None when the run is neither finished nor has it left its outcome."""
    kept = folder.path.with_name(f"{folder.path.name}.outcome.json")
    result = _result(folder)
    if result is not None:
        if not kept.is_file():
            save_result(kept, root, result, _ran(start_of(folder.record)))
        return result
    if kept.is_file() and not folder.path.exists():
        return load_result(kept, root)
    return None


def _result(folder: RunFolder) -> RunResult | None:
    """None when the run is not finished."""
    if not folder.record.is_file():
        return None
    record = read_record(folder.path)
    steps = [int(str(event["step"])) for event in record.evaluations]
    if (
        record.end is None
        or not len(record.steps)
        or not steps
        or steps[-1] != record.end.get("step")
    ):
        return None
    tables = [read_evaluation(folder.evaluations / f"step-{step:06d}.jsonl") for step in steps]
    ids, _, samples = tables[0]
    if any(table[0] != ids or table[2] != samples for table in tables):
        raise RecordError(
            f"{folder.evaluations}: its files hold different prompts or numbers of samples"
        )
    spent = np.nancumsum(record.scalar("seconds.step"))
    return RunResult(
        ids,
        np.array([correct for _, correct, _ in tables]),
        samples,
        tuple(steps),
        _at(record, steps, record.scalar("rollouts_total")),
        _at(record, steps, record.scalar("tokens_total")),
        _at(record, steps, spent),
        _mean(record.scalar("zero_variance_share")),
        _mean(record.scalar("reward")[-max(len(record.steps) // 10, 1) :]),
        _at(record, steps, np.cumsum(record.scalar("trained_tokens"))),
    )


def _at(record: Record, steps: list[int], column: Floats) -> tuple[float, ...]:
    """A running total of the record at these steps; 0 before the first."""
    return tuple(float(column[record.steps == step][0]) if step else 0.0 for step in steps)


def _mean(values: Floats) -> float:
    """The mean of what is known; NaN when nothing is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def save_result(path: Path, root: Path, result: RunResult, ran: Ran | None = None) -> None:
    """Write a run's result beside its folder, and its prompts' ids once for all runs that were
    tested on them.

    Args:
        ran: when, on what and with which code, where the record says so.
    """
    digest = _hash(result.ids)
    prompts = root / f"prompts-{digest[:12]}.json"
    if not prompts.is_file():
        write_atomic(prompts, json.dumps(list(result.ids), indent=0) + "\n")
    values: dict[str, Any] = asdict(result) | {"correct": result.correct.tolist(), "ids": digest}
    values |= {} if ran is None else {"ran": asdict(ran)}
    write_atomic(path, to_json({"format": FORMAT} | values) + "\n")


def load_result(path: Path, root: Path) -> RunResult:
    """Read it back.

    Raises:
        RecordError: damaged, of another format, or of other prompts.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        prompts = root / f"prompts-{values['ids'][:12]}.json"
        ids = tuple(json.loads(prompts.read_text(encoding="utf-8")))
        found = (values["format"], values["ids"])
        result = RunResult(
            ids,
            np.array(values["correct"], dtype=np.int64),
            int(values["samples"]),
            tuple(map(int, values["steps"])),
            tuple(map(_number, values["rollouts"])),
            tuple(map(_number, values["tokens"])),
            tuple(map(_number, values["seconds"])),
            _number(values["dead"]),
            _number(values["training_reward"]),
            # runs of before 2026-11-28 do not say
            tuple(map(_number, values.get("trained_tokens", [None] * len(values["steps"])))),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path}: damaged, or the prompts-*.json that it names is ({error!r}); train this run"
            " again"
        ) from error
    if found != (FORMAT, _hash(ids)) or result.correct.shape != (len(result.steps), len(ids)):
        raise RecordError(
            f"{path}: of another format, or tested on other prompts than {prompts} names; remove"
            " the file to train this run again"
        )
    return result


def when_and_where(root: Path, runs: Iterable[tuple[str, int]]) -> str:
    """The days (UTC, on which they began), machines and code of finished runs, as their records or
    the outcomes they left say: `ran` of a published plan.

    Args:
        runs: method and seed of each.
    """
    found = [_ran_of(root, method, seed) for method, seed in runs]
    known = [ran for ran in found if ran is not None]
    parts = []
    if known:
        days = sorted({ran.day for ran in known})
        span = " to ".join(dict.fromkeys((days[0], days[-1])))
        machines = " and on ".join(sorted({ran.machine for ran in known}))
        codes = " and ".join(sorted({ran.code for ran in known}))
        parts = [f"{span} on {machines}, code of {codes}"]
    if len(known) < len(found):
        of_them = f"{len(found) - len(known)} of {len(found)} runs" if known else "the runs"
        parts.append(f"when and where {of_them} began is not recorded")
    return "; ".join(parts)


def _ran_of(root: Path, method: str, seed: int) -> Ran | None:
    folder = RunFolder(root / method / f"seed-{seed}")
    if folder.record.is_file():
        return _ran(start_of(folder.record))
    kept = folder.path.with_name(f"{folder.path.name}.outcome.json")
    said = json.loads(kept.read_text(encoding="utf-8")).get("ran")
    return None if said is None else Ran(**said)


def _ran(start: Event | None) -> Ran | None:
    if start is None or "machine" not in start:
        return None
    commit = start.get("commit")
    code = f"commit {commit}" if commit else f"gdro {start['version']}"
    return Ran(start["time"][:10], machine_words(start["machine"]), code)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _hash(ids: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _same_evaluations(
    root: Path, plan: ComparisonPlan, runs: dict[str, dict[int, RunResult]]
) -> None:
    """Raises RecordError unless all runs were tested alike: on the same prompts, but for seeds with
    data of their own (`by_seed` in the plan), where the runs of a seed were."""
    first: RunResult | None = None
    of_seed: dict[int, RunResult] = {}
    for method, by_seed in runs.items():
        for seed, result in by_seed.items():
            first = first or result
            same_data = of_seed.setdefault(seed, result) if plan.by_seed else first
            what = {
                "on other prompts": result.ids != same_data.ids,
                "with other samples": result.samples != first.samples,
                "at other moments": len(result.steps) != len(first.steps),
            }
            for how, differs in what.items():
                if differs:
                    raise RecordError(
                        f"{root / method / f'seed-{seed}'}: evaluated {how} than the others"
                    )


def _notes(runs: dict[str, dict[int, RunResult]], baseline: str) -> list[str]:
    notes = []
    for method, by_seed in runs.items():
        pairs = {
            seed: (result, runs[baseline][seed])
            for seed, result in by_seed.items()
            if seed in runs[baseline]
        }
        for seed, (result, other) in pairs.items():
            if (result.correct[0] != other.correct[0]).any():
                notes.append(
                    f"{method} seed {seed} answered differently from {baseline} before training."
                )
        unequal = [
            seed for seed, (result, other) in pairs.items() if result.rollouts != other.rollouts
        ]
        if unequal:
            own, others = (
                _from_to([pairs[seed][side].rollouts[-1] for seed in unequal]) for side in (0, 1)
            )
            seeds = f"seed{'s' * (len(unequal) > 1)} {', '.join(map(str, unequal))}"
            notes.append(f"{method} spent {own} rollouts ({seeds}), {baseline} {others}.")
        ended = [{pair[side].steps[-1] for pair in pairs.values()} for side in (0, 1)]
        if ended[0] != ended[1]:
            steps, theirs = map(_from_to, ended)
            notes.append(f"{method} made {steps} steps of its rollouts, {baseline} {theirs}.")
    return notes


def _from_to(values: Collection[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
