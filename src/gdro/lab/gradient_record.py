"""What a measurement of a run's gradients leaves beside its folder: RUN.gradients.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gdro.report.read import RecordError
from gdro.runs.folder import RunFolder

RATIO = "variance_ratio"


def gradients_file(run: RunFolder) -> Path:
    """Where the figures of a run lie."""
    return run.path.with_name(f"{run.path.name}.gradients.json")


def write_figures(run: RunFolder, figures: dict[str, Any]) -> None:
    """Write them, all or nothing."""
    draft = gradients_file(run).with_suffix(".tmp")
    draft.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, gradients_file(run))


def read_variance_ratio(run: RunFolder) -> float:
    """Variance of the batch gradient by the run's plan over that at equal rollouts; NaN when it was not measured.

    Raises:
        RecordError: the file is damaged.
    """
    path = gradients_file(run)
    if not path.is_file():
        return float("nan")
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))[RATIO]["value"])
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: damaged ({error!r}); remove it and measure again with --gradients") from None
