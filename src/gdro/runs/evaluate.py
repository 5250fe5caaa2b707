"""`gdro evaluate MODEL`: mean@k and pass@k of any model on the held-out prompts of any data
section."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gdro.config import TrainConfig, load_config
from gdro.core.errors import RunError
from gdro.io import to_json, write_atomic
from gdro.runs import evaluation, vllm
from gdro.runs.folder import RunFolder, check_output, trained_model
from gdro.runs.prepare import prepare
from gdro.runs.progress import Progress
from gdro.runs.record import interval_words


def evaluate_model(
    model: str, recipe: str | None, overrides: Sequence[str], output: str | None
) -> dict[str, Any]:
    """Evaluate, print a table, and write the figures as JSON when asked to.

    Args:
        model: a Hugging Face folder or name, `tiny`, or the folder of a run (its trained model,
            with its settings).
        recipe: settings whose `data`, `verifier`, `generation` and `evaluation` are used.

    Raises:
        RunError: nothing is held out, or there is no such model.
    """
    check_output(output)
    config = _settings(model, recipe, overrides)
    progress = Progress(0, live=False)
    with_vllm = config.generation.backend == "vllm"
    prompts, policy, verifier = prepare(
        config, progress, *([vllm.check_installed] if with_vllm else []), trains=False
    )
    config = config.for_model(policy.context)
    with closing(verifier):
        if not prompts.heldout:
            raise RunError(
                "the settings hold no prompt out; set data.heldout_fraction, heldout_size or a"
                " held-out source"
            )
        engine = vllm.own_engine(config.model, config, progress.note) if with_vllm else None
        result = evaluation.evaluate(
            policy, prompts.heldout, verifier, config, progress.note, engine
        )
        counts = verifier.counts
    fields = evaluation.event(result, result) | {"model": config.model, "verifier": counts}
    Console().print(table(fields))
    if output is not None:
        write_atomic(output, to_json(fields, indent=1) + "\n")
    return fields


def table(fields: dict[str, Any]) -> Table:
    """The figures by source, and overall."""
    k = fields["k"]
    shown = Table(
        title=(
            f"{fields['model']}: {fields['prompts']} held-out prompts x {fields['samples']} samples"
        )
    )
    for title in ("source", "prompts", f"mean@{k}", f"pass@{k}"):
        shown.add_column(title, justify="left" if title == "source" else "right")
    for name, row in fields["by_source"].items():
        shown.add_row(
            name,
            str(row["prompts"]),
            interval_words(row["mean_at_k"]),
            interval_words(row["pass_at_k"]),
        )
    shown.add_section()
    shown.add_row(
        "all",
        str(fields["prompts"]),
        interval_words(fields["mean_at_k"]),
        interval_words(fields["pass_at_k"]),
    )
    return shown


def _settings(model: str, recipe: str | None, overrides: Sequence[str]) -> TrainConfig:
    trained = trained_model(model)
    # quoted: as YAML a folder `exp #2` would be `exp`, and `2024` a number
    quoted = json.dumps(str(trained or model), ensure_ascii=False)
    if trained is not None and recipe is None:
        return load_config(RunFolder(Path(model)).config, [*overrides, f"model={quoted}"])
    return load_config(recipe, [*overrides, f"model={quoted}"])
