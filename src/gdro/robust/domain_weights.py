"""Domain weights in DoReMi's JSON form: what its release and the data mixers that read it
exchange."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from gdro.io import to_json, write_atomic
from gdro.robust.batch import RobustError

TRAIN, EVAL = "train_domain_weights", "eval_domain_weights"


def write_domain_weights(
    path: str | os.PathLike[str],
    train: Mapping[str, float],
    evaluation: Mapping[str, float] | None = None,
) -> None:
    """Write `{"train_domain_weights": {...}, "eval_domain_weights": {...}}`, atomically.

    Args:
        train: weight of each domain, positive; they are scaled to sum one.
        evaluation: the same for evaluation; None: as train.

    Raises:
        RobustError: a weight is not a positive number.
    """
    content = {TRAIN: _normal(train, str(path)), EVAL: _normal(evaluation or train, str(path))}
    write_atomic(path, to_json(content, indent=2) + "\n")


def read_domain_weights(path: str | os.PathLike[str]) -> dict[str, float]:
    """The training weights of such a file, scaled to sum one.

    Raises:
        FileNotFoundError: there is no such file.
        RobustError: it is not JSON, lacks the key, or a weight is not a positive number.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RobustError(f"{path} is not JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get(TRAIN), dict):
        raise RobustError(f"{path} lacks the key {TRAIN!r}, an object of weights by domain")
    return _normal(content[TRAIN], str(path))


def excess_losses(losses: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """max(loss - reference loss, 0) element by element, detached: DoReMi's signal when both are by
    token."""
    return (losses.detach() - reference.detach()).clamp(min=0.0)


def _normal(weights: Mapping[str, float], where: str) -> dict[str, float]:
    for name, value in weights.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not (value > 0.0 and math.isfinite(value)):
            raise RobustError(
                f"{where}: the weight of domain {name!r} is {value!r}, not a positive number"
            )
    if not weights:
        raise RobustError(f"{where}: there are no domains")
    total = math.fsum(weights.values())
    return {name: float(value) / total for name, value in weights.items()}
