"""A whole comparison in one folder: plan.yaml and outcomes.npz, and what is made of them, table.md
and figure.svg.

    gdro compare runs/compare-NAME --publish results/NAME  # pack it
    gdro compare results/NAME --report                     # table.md and figure.svg again

outcomes.npz holds, for M methods, S seeds, E evaluations (at most) and P held-out prompts (at
most):

    correct                           (M, S, E, P) int8: right samples; -1 where there is none
    steps, rollouts, tokens, seconds  (M, S, E) float64: what training had taken; NaN: unknown
    trained_tokens                    (M, S, E) float64: of the tokens, those in training passes
    dead, training_reward             (M, S) float64
    about                             UTF-8 JSON: methods, seeds, samples, prompt ids, train sizes
                                      of the sources, and every run's settings, each value once
                                      (see `_factored`)

A run that was not finished is -1 throughout and has no step; one with fewer evaluations or prompts
than another is -1 beyond its own. Published settings are data: nothing here reads them as a
`TrainConfig`, so they outlive its keys.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np

from gdro.core.errors import RunError
from gdro.io import flat, to_json, write_atomic
from gdro.lab.compare_plan import PLAN, plan_text, read_plan
from gdro.lab.compare_record import Comparison, RunResult, comparison_of
from gdro.report.read import RecordError

OUTCOMES = "outcomes.npz"
FORMAT = 1
COSTS = ("rollouts", "tokens", "seconds")
SINCE = ("trained_tokens",)
"""A cost that archives of before 2026-11-28 do not have."""
OF_A_RUN = ("dead", "training_reward")

Runs = Mapping[str, Mapping[int, Any]]
"""Method -> seed -> something of that run."""


def is_archive(folder: Path) -> bool:
    """Whether a folder is a published comparison of this kind, damaged or not: other studies have
    outcomes too."""
    path = folder / OUTCOMES
    if not path.is_file():
        return False
    return not is_zipfile(path) or "about.npy" in ZipFile(path).namelist()


def save_archive(folder: Path, comparison: Comparison, settings: Runs) -> None:
    """Write plan.yaml and outcomes.npz; the same comparison gives the same bytes.

    What the folder already has stays: its methods and seeds must be in the new plan, and a run that
    both have must be the same in both.

    Args:
        settings: method -> seed -> the settings of each finished run, as plain values.

    Raises:
        RunError: the folder holds something else, or other results for a run.
    """
    if is_archive(folder):
        comparison, settings = _with_older(folder, comparison, settings)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder} is there and no published comparison; choose another folder to publish in"
        )
    folder.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **_arrays(comparison, settings))
    write_atomic(folder / OUTCOMES, packed.getvalue())
    write_atomic(folder / PLAN, plan_text(comparison.plan))


def load_archive(folder: Path) -> Comparison:
    """The comparison of a published folder, from its plan and outcomes.

    Raises:
        ConfigError: plan.yaml is no plan.
        RecordError: outcomes.npz is damaged, or of another plan.
    """
    plan = read_plan(folder / PLAN)
    arrays, about = _read(folder)
    strange = [m for m in about["methods"] if m not in plan.methods] + [
        s for s in about["seeds"] if s not in plan.seeds
    ]
    if strange:
        raise RecordError(
            f"{folder / OUTCOMES}: holds {strange[0]!r}, which {PLAN} beside it does not name"
        )
    runs: dict[str, dict[int, RunResult]] = {method: {} for method in plan.methods}
    for m, method in enumerate(about["methods"]):
        for s, seed in enumerate(about["seeds"]):
            result = _run(arrays, about, m, s)
            if result is not None:
                runs[method][seed] = result
    order = {seed: place for place, seed in enumerate(plan.seeds)}
    runs = {
        method: dict(sorted(by_seed.items(), key=lambda pair: order[pair[0]]))
        for method, by_seed in runs.items()
    }
    sizes = {int(seed): about["training_sizes"][place] for seed, place in about["sizes_of"].items()}
    return comparison_of(plan, runs, sizes, folder)


def published_settings(folder: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Method -> seed -> the settings of each published run, as `a.b` -> value, in the words of the
    day it was run.

    Raises:
        RecordError: outcomes.npz is damaged.
    """
    arrays, about = _read(folder)
    parts = about["settings"]
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for m, method in enumerate(about["methods"]):
        for s, seed in enumerate(about["seeds"]):
            if not np.isnan(arrays["steps"][m, s]).all():
                own = parts["runs"].get(method, {}).get(str(seed), {})
                known = (
                    parts["common"]
                    | parts["methods"].get(method, {})
                    | parts["seeds"].get(str(seed), {})
                    | own
                )
                found.setdefault(method, {})[seed] = dict(sorted(known.items()))
    return found


def _with_older(folder: Path, comparison: Comparison, settings: Runs) -> tuple[Comparison, Runs]:
    older, kept = load_archive(folder), published_settings(folder)
    runs = {method: dict(by_seed) for method, by_seed in comparison.runs.items()}
    merged = {method: dict(by_seed) for method, by_seed in settings.items()}
    for method, by_seed in older.runs.items():
        for seed, result in by_seed.items():
            if method not in runs or seed not in comparison.plan.seeds:
                raise RunError(
                    f"{folder} has {method} seed {seed}, which the new plan does not name; add it"
                    " there"
                )
            if seed in runs[method] and not _same(runs[method][seed], result):
                raise RunError(
                    f"{folder} has other results for {method} seed {seed}; publish in another"
                    " folder"
                )
            runs[method].setdefault(seed, result)
            merged.setdefault(method, {}).setdefault(seed, kept[method][seed])
    sizes = {**older.training_sizes, **comparison.training_sizes}
    return comparison_of(comparison.plan, runs, sizes, folder), merged


def _same(one: RunResult, other: RunResult) -> bool:
    return (
        one.ids == other.ids
        and one.steps == other.steps
        and np.array_equal(one.correct, other.correct)
    )


def _arrays(comparison: Comparison, settings: Runs) -> dict[str, Any]:
    runs, methods, seeds = comparison.runs, list(comparison.runs), list(comparison.plan.seeds)
    done = {(method, seed): result for method in methods for seed, result in runs[method].items()}
    samples = {result.samples for result in done.values()}.pop()
    prompts = list(dict.fromkeys(result.ids for result in done.values()))
    evaluations = max(len(result.steps) for result in done.values())
    shape = (len(methods), len(seeds), evaluations)
    kind = np.int8 if samples <= np.iinfo(np.int8).max else np.int32
    arrays: dict[str, Any] = {"correct": np.full((*shape, max(map(len, prompts))), -1, kind)}
    arrays |= {name: np.full(shape, np.nan) for name in ("steps", *COSTS, *SINCE)}
    arrays |= {name: np.full(shape[:2], np.nan) for name in OF_A_RUN}
    for (method, seed), result in done.items():
        at = (methods.index(method), seeds.index(seed))
        count, size = result.correct.shape
        arrays["correct"][(*at, slice(count), slice(size))] = result.correct
        for name in ("steps", *COSTS, *SINCE):
            arrays[name][(*at, slice(count))] = getattr(result, name)
        for name in OF_A_RUN:
            arrays[name][at] = getattr(result, name)
    sizes = list(
        {to_json(dict(value)): dict(value) for value in comparison.training_sizes.values()}.values()
    )
    about = {
        "format": FORMAT,
        "methods": methods,
        "seeds": seeds,
        "samples": samples,
        "prompts": prompts,
        "prompts_of": {str(seed): prompts.index(result.ids) for (_, seed), result in done.items()},
        "training_sizes": sizes,
        "sizes_of": {
            str(seed): sizes.index(dict(value)) for seed, value in comparison.training_sizes.items()
        },
        "settings": _factored({at: flat(settings[at[0]][at[1]]) for at in done}),
    }
    return arrays | {"about": np.frombuffer(to_json(about).encode(), np.uint8)}


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    path = folder / OUTCOMES
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays.pop("about").tobytes().decode())
        shape = (len(about["methods"]), len(about["seeds"]))
        fits = about["format"] == FORMAT and all(
            arrays[name].shape[:2] == shape for name in ("correct", "steps", *COSTS, *OF_A_RUN)
        )
    except (OSError, ValueError, KeyError, TypeError, BadZipFile, zlib.error) as error:
        raise RecordError(
            f"{path}: damaged ({error!r}); bring it back from version control"
        ) from error
    if not fits:
        raise RecordError(
            f"{path}: of another format, or damaged; bring it back from version control"
        )
    return arrays, about


def _run(arrays: Mapping[str, Any], about: Mapping[str, Any], m: int, s: int) -> RunResult | None:
    steps = arrays["steps"][m, s]
    count = int((~np.isnan(steps)).sum())
    if not count:
        return None
    ids = tuple(about["prompts"][about["prompts_of"][str(about["seeds"][s])]])
    rollouts, tokens, seconds = (tuple(arrays[name][m, s, :count].tolist()) for name in COSTS)
    trained = arrays.get("trained_tokens", np.full_like(arrays["steps"], np.nan))[m, s, :count]
    dead, training_reward = (float(arrays[name][m, s]) for name in OF_A_RUN)
    correct = arrays["correct"][m, s, :count, : len(ids)].astype(np.int64)
    at = tuple(int(step) for step in steps[:count])
    return RunResult(
        ids,
        correct,
        int(about["samples"]),
        at,
        rollouts,
        tokens,
        seconds,
        dead,
        training_reward,
        tuple(trained.tolist()),
    )


def _factored(settings: Mapping[tuple[str, int], Mapping[str, Any]]) -> dict[str, Any]:
    """Every run's settings, each value written once: what all runs share, then what all of a
    method's runs share, then all of a seed's, then what is a single run's. A run's settings are the
    union of its four parts."""
    left = {at: dict(values) for at, values in settings.items()}
    common = _take_shared(left, list(left))
    methods = {
        m: _take_shared(left, [at for at in left if at[0] == m])
        for m in dict.fromkeys(at[0] for at in left)
    }
    seeds = {
        str(s): _take_shared(left, [at for at in left if at[1] == s])
        for s in dict.fromkeys(at[1] for at in left)
    }
    runs: dict[str, dict[str, Any]] = {}
    for (method, seed), values in left.items():
        if values:
            runs.setdefault(method, {})[str(seed)] = dict(sorted(values.items()))
    return {"common": common, "methods": methods, "seeds": seeds, "runs": runs}


def _take_shared(
    left: Mapping[tuple[str, int], dict[str, Any]], at: Sequence[tuple[str, int]]
) -> dict[str, Any]:
    """Take out of `left` what all of these runs have alike."""
    first = left[at[0]]
    shared = {
        k: v
        for k, v in sorted(first.items())
        if all(k in left[one] and left[one][k] == v for one in at)
    }
    for one in at:
        for key in shared:
            del left[one][key]
    return shared
