"""`gdro evaluate MODEL --suite ...`: mean@k and pass@k with intervals on the paper's test sets,
from local copies or the hub, for each suite and averaged over suites."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console
from rich.table import Table

from gdro import __version__
from gdro.config import load_config
from gdro.core.errors import RunError
from gdro.core.passk import Interval, bootstrap, mean_at_k, pass_at_k
from gdro.core.types import Floats
from gdro.data.chat import opens_thinking
from gdro.data.prompts import Prompt
from gdro.io import to_json
from gdro.runs.folder import RunFolder
from gdro.runs.progress import Progress
from gdro.runs.suite_sampling import Sampler, Sampling, make_sampler
from gdro.runs.suites import SUITES, SuitePrompts, load_suite, suite_names
from gdro.verify import PoolVerifier, Task, make_verifier, text_only_note
from gdro.verify.causes import CORRECT

PAPER = "paper/qwen3_1.7b"
"""The recipe whose evaluation and generation settings are taken when none is named."""


def evaluate_suites(
    model: str,
    suites: str,
    *,
    recipe: str | None = None,
    overrides: Sequence[str] = (),
    copies: str | None = None,
    limit: int | None = None,
    rows: int = 64,
    output: str | None = None,
) -> dict[str, Any]:
    """Load every suite, sample, score, print a table and lighteval's command, and write JSON when
    asked to.

    Args:
        model: a Hugging Face folder or name, `tiny`, or the folder of a run (its trained model).
        suites: names with commas between them, or `all`.
        recipe: settings whose `evaluation`, `generation`, `verifier`, `dtype` and `seed` are used;
            None is the paper's.
        overrides: `key=value` texts laid over them.
        copies: folder of local copies; None is the hub.
        limit: at most so many problems of each suite.
        rows: most completions that transformers samples together.
        output: file for the figures, or None.

    Raises:
        RunError, ConfigError, DataError: what stands in the way; all suites are read before a model
            is loaded.
    """
    for option, value in (("--limit", limit), ("--rows", rows)):
        if value is not None and value < 1:
            raise RunError(f"{option} {value}: must be at least 1")
    config = load_config(recipe or PAPER, overrides)
    path = _trained(model)
    progress = Progress(0, live=False)
    loaded = {name: load_suite(name, copies, limit) for name in suite_names(suites)}
    how = Sampling.of(config, rows)
    correct: dict[str, dict[str, int]] = {}
    shown: dict[str, dict[str, Any]] = {}
    checking = config.verifier
    pool = make_verifier(
        "math", workers=checking.workers, deadline=checking.timeout, memory_mb=checking.memory_mb
    )
    with closing(pool) as verifier:
        readable = {name: _readable(verifier, suite.prompts) for name, suite in loaded.items()}
        text_only = {name: verifier.check(prompts) for name, prompts in readable.items()}
        for name, ids in text_only.items():
            if (told := text_only_note(ids, len(loaded[name].prompts))) is not None:
                progress.note(f"{name}: {told}")
        sampler = make_sampler(path, config)
        first = next(suite.prompts[0] for suite in loaded.values())
        values = config.data.chat_template_kwargs or {}
        verifier.opens_thinking = opens_thinking(first.messages, sampler.tokenizer, values)
        for name, suite in loaded.items():
            started = time.perf_counter()
            progress.note(
                f"{name}: {len(suite.prompts)} problems x {how.samples} samples with {sampler.name}"
            )
            found = _correct(sampler, verifier, readable[name], how)
            correct[name] = {prompt.id: found.get(prompt.id, 0) for prompt in suite.prompts}
            shown[name] = _fields(name, suite, len(readable[name]), correct[name], how.samples) | {
                "text_only_golds": len(text_only[name]),
                "seconds": round(time.perf_counter() - started, 3),
            }
        causes = verifier.counts
    counts = {name: np.array(list(by_id.values())) for name, by_id in correct.items()}
    fields: dict[str, Any] = {
        "model": model,
        "version": __version__,
        "engine": sampler.name,
        "k": how.samples,
        "sampling": asdict(how),
        "limit": limit,
        "suites": shown,
        "average": aggregate(counts, how.samples),
        "verifier": causes,
        "lighteval": lighteval_command(path, list(loaded), how),
        "correct": correct,
    }
    Console(width=None if sys.stdout.isatty() else 120).print(table(fields))
    print(f"the nearest lighteval command:\n{fields['lighteval']}")
    if output is not None:
        Path(output).write_text(to_json(fields, indent=1) + "\n", encoding="utf-8")
    return fields


def score(
    verifier: PoolVerifier, prompts: Sequence[Prompt], texts: Sequence[Sequence[str]]
) -> dict[str, int]:
    """Correct completions of each prompt, by id; `texts[i]` are those of `prompts[i]`."""
    flat = [(prompt, text) for prompt, group in zip(prompts, texts, strict=True) for text in group]
    rewards = verifier.score([prompt for prompt, _ in flat], [text for _, text in flat])
    right = dict.fromkeys((prompt.id for prompt in prompts), 0)
    for (prompt, _), reward in zip(flat, rewards, strict=True):
        right[prompt.id] += reward >= 1.0
    return right


def lighteval_command(model: str, suites: Sequence[str], how: Sampling) -> str:
    """The nearest command of lighteval; it has no task of its own for some suites, and reports
    other metrics."""
    tasks = [f"{task}|0" for name in suites if (task := SUITES[name].lighteval) is not None]
    without = [SUITES[name].title for name in suites if SUITES[name].lighteval is None]
    note = f"   # no built-in task: {', '.join(without)}" if without else ""
    if not tasks:
        return f"none{note}"
    parameters = (
        f"max_new_tokens:{how.max_tokens},temperature:{how.temperature:g},top_p:{how.top_p:g},"
        f"top_k:{how.top_k},seed:{how.seed}"
    )
    return (
        f'lighteval vllm "model_name={model},dtype=bfloat16,generation_parameters={{{parameters}}}"'
        f' "{",".join(tasks)}"{note}'
    )


def table(fields: dict[str, Any]) -> Table:
    """The figures of each suite, and the average over suites."""
    k = fields["k"]
    shown = Table(title=f"{fields['model']}: {k} samples a problem, {fields['engine']}")
    for title in ("suite", "problems", "unreadable", f"mean@{k}", f"pass@{k}"):
        shown.add_column(title, justify="left" if title == "suite" else "right")
    for name, row in fields["suites"].items():
        usual = SUITES[name].problems
        count = f"{row['prompts']}" + (
            f" of {usual}" if usual not in (None, row["prompts"]) else ""
        )
        unreadable = str(row["unreadable_golds"])
        shown.add_row(
            SUITES[name].title, count, unreadable, _text(row["mean_at_k"]), _text(row["pass_at_k"])
        )
    whole = fields["average"]
    shown.add_section()
    shown.add_row(
        "average", str(whole["prompts"]), "", _text(whole["mean_at_k"]), _text(whole["pass_at_k"])
    )
    return shown


def _readable(verifier: PoolVerifier, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Those whose gold answer the verifier can read; no completion of the others could be right."""
    outcomes = verifier.pool.run(
        [Task(prompt.id, "", prompt.answer, None, True) for prompt in prompts]
    )
    return [
        prompt
        for prompt, outcome in zip(prompts, outcomes, strict=True)
        if outcome.cause == CORRECT
    ]


def _correct(
    sampler: Sampler, verifier: PoolVerifier, prompts: list[Prompt], how: Sampling
) -> dict[str, int]:
    return score(verifier, prompts, sampler(prompts, how)) if prompts else {}


def _fields(
    name: str, suite: SuitePrompts, readable: int, correct: dict[str, int], samples: int
) -> dict[str, Any]:
    return figures(list(correct.values()), samples) | {
        "title": SUITES[name].title,
        "unreadable_golds": len(suite.prompts) - readable,
        "left_out": suite.left_out,
        "duplicates": suite.duplicates,
    }


def _trained(model: str) -> str:
    """The folder of the model: that of a run is the model inside it."""
    run = RunFolder(Path(model))
    if not run.config.is_file():
        return model
    if not run.model.is_dir():
        raise RunError(
            f"{model} is a run without a trained model yet; finish it with: gdro train --resume"
            f" {model}"
        )
    return str(run.model)


def _text(entry: dict[str, float]) -> str:
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


RESAMPLES = 2000


def figures(correct: ArrayLike, samples: int) -> dict[str, Any]:
    """One suite's figures from (M,) correct answers out of `samples` each; mean@k and pass@k with k
    = samples."""
    counts = np.asarray(correct)
    return {
        "prompts": int(counts.size),
        "mean_at_k": as_json(bootstrap(mean_at_k(samples, counts))),
        "pass_at_k": as_json(bootstrap(pass_at_k(samples, counts, samples))),
    }


def aggregate(correct: Mapping[str, ArrayLike], samples: int) -> dict[str, Any]:
    """The average over suites, each counting once, with intervals from problems drawn anew within
    each suite."""
    mean = [mean_at_k(samples, counts) for counts in correct.values()]
    passed = [pass_at_k(samples, counts, samples) for counts in correct.values()]
    return {
        "suites": len(correct),
        "prompts": sum(values.size for values in mean),
        "mean_at_k": as_json(bootstrap_average(mean)),
        "pass_at_k": as_json(bootstrap_average(passed)),
    }


def bootstrap_average(groups: list[Floats], *, level: float = 0.95, seed: int = 0) -> Interval:
    """Mean of the groups' means, with a percentile interval; the members of each group are drawn
    anew."""
    generator = np.random.default_rng(seed)
    draws = [
        values[generator.integers(0, values.size, size=(RESAMPLES, values.size))].mean(axis=1)
        for values in groups
    ]
    low, high = np.quantile(np.mean(draws, axis=0), [(1 - level) / 2, (1 + level) / 2])
    value = float(np.mean([values.mean() for values in groups]))
    return Interval(value, float(low), float(high), sum(values.size for values in groups))


def as_json(interval: Interval) -> dict[str, float]:
    """`value`, `low` and `high`, rounded as in a run's record."""
    return {name: round(value, 6) for name, value in asdict(interval).items() if name != "prompts"}
