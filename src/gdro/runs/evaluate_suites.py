"""`gdro evaluate MODEL --suite ...`: mean@k and pass@k with intervals on the paper's test sets,
from local copies or the hub, for each suite and averaged over suites."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
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
from gdro.io import to_json, write_atomic
from gdro.runs.evaluation import as_json
from gdro.runs.folder import check_output, trained_model
from gdro.runs.progress import Progress
from gdro.runs.record import interval_words
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
    check_output(output)
    config = load_config(PAPER if recipe is None else recipe, overrides)
    path = str(trained_model(model) or model)
    progress = Progress(0, live=False)
    loaded = {name: load_suite(name, copies, limit) for name in suite_names(suites)}
    how = Sampling.of(config, rows)
    checking = config.verifier
    pool = make_verifier(
        "math", workers=checking.workers, deadline=checking.timeout, memory_mb=checking.memory_mb
    )
    with closing(pool) as verifier:
        checked = {name: _checked(suite, verifier) for name, suite in loaded.items()}
        for name, one in checked.items():
            note = text_only_note(one.text_only, len(one.suite.prompts))
            if note is not None:
                progress.note(f"{name}: {note}")
        sampler = make_sampler(path, config)
        first = next(suite.prompts[0] for suite in loaded.values())
        values = config.data.chat_template_kwargs or {}
        verifier.opens_thinking = opens_thinking(first.messages, sampler.tokenizer, values)
        answered = {
            name: _answered(name, one, sampler, verifier, how, progress)
            for name, one in checked.items()
        }
        causes = verifier.counts
    correct = {name: by_id for name, (by_id, _) in answered.items()}
    counts = {name: np.array(list(by_id.values())) for name, by_id in correct.items()}
    fields: dict[str, Any] = {
        "model": model,
        "version": __version__,
        "engine": sampler.name,
        "k": how.samples,
        "sampling": asdict(how),
        "limit": limit,
        "suites": {name: shown for name, (_, shown) in answered.items()},
        "average": aggregate(counts, how.samples),
        "verifier": causes,
        "lighteval": lighteval_command(path, list(loaded), how),
        "correct": correct,
    }
    Console(width=None if sys.stdout.isatty() else 120).print(table(fields))
    print(f"the nearest lighteval command:\n{fields['lighteval']}")
    if output is not None:
        write_atomic(output, to_json(fields, indent=1) + "\n")
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
            SUITES[name].title,
            count,
            unreadable,
            interval_words(row["mean_at_k"]),
            interval_words(row["pass_at_k"]),
        )
    whole = fields["average"]
    shown.add_section()
    shown.add_row(
        "average",
        str(whole["prompts"]),
        "",
        interval_words(whole["mean_at_k"]),
        interval_words(whole["pass_at_k"]),
    )
    return shown


@dataclass(frozen=True)
class _Checked:
    """A suite whose gold answers were read.

    Attributes:
        readable: the prompts whose gold answer the verifier can read; no completion of the others
            could be right.
        text_only: ids of those of them that only the same text equals.
    """

    suite: SuitePrompts
    readable: list[Prompt]
    text_only: Sequence[str]


def _checked(suite: SuitePrompts, verifier: PoolVerifier) -> _Checked:
    outcomes = verifier.pool.run(
        [Task(prompt.id, "", prompt.answer, None, True) for prompt in suite.prompts]
    )
    pairs = zip(suite.prompts, outcomes, strict=True)
    readable = [prompt for prompt, outcome in pairs if outcome.cause == CORRECT]
    return _Checked(suite, readable, verifier.check(readable))


def _answered(
    name: str,
    checked: _Checked,
    sampler: Sampler,
    verifier: PoolVerifier,
    how: Sampling,
    progress: Progress,
) -> tuple[dict[str, int], dict[str, Any]]:
    """Correct completions of each of a suite's prompts, by id, and the suite's figures."""
    suite, readable = checked.suite, checked.readable
    started = time.perf_counter()
    progress.note(
        f"{name}: {len(suite.prompts)} problems x {how.samples} samples with {sampler.name}"
    )
    found = score(verifier, readable, sampler(readable, how)) if readable else {}
    correct = {prompt.id: found.get(prompt.id, 0) for prompt in suite.prompts}
    return correct, figures(list(correct.values()), how.samples) | {
        "title": SUITES[name].title,
        "unreadable_golds": len(suite.prompts) - len(readable),
        "left_out": suite.left_out,
        "duplicates": suite.duplicates,
        "text_only_golds": len(checked.text_only),
        "seconds": round(time.perf_counter() - started, 3),
    }


RESAMPLES, LEVEL = 2000, 0.95


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


def bootstrap_average(groups: list[Floats]) -> Interval:
    """Mean of the groups' means, with a 95 % percentile interval; the members of each group are
    drawn anew."""
    generator = np.random.default_rng(0)
    draws = [
        values[generator.integers(0, values.size, size=(RESAMPLES, values.size))].mean(axis=1)
        for values in groups
    ]
    low, high = np.quantile(np.mean(draws, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = float(np.mean([values.mean() for values in groups]))
    return Interval(value, float(low), float(high), sum(values.size for values in groups))
