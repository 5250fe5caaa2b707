"""transformers' `from_pretrained`, with one line that names the model for whatever stands in the
way."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gdro.core.errors import ModelError
from gdro.models.locate import read_json, suggestion

REFUSALS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    ImportError,
    LookupError,
    SafetensorError,
    pickle.UnpicklingError,
    EOFError,
    NotImplementedError,
)
"""What transformers raises of files that are missing, damaged or unknown."""


def quiet_transformers() -> None:
    """Of what transformers prints, errors alone: commands say themselves how far they are."""
    from transformers import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def from_pretrained(loader: Any, what: str, path: str, part: str, **options: Any) -> Any:
    """`loader.from_pretrained(path)`, with one line for whatever stands in the way.

    Raises:
        ModelError: it cannot be loaded.
    """
    folder = Path(path)
    if folder.is_dir() and "gguf_file" not in options:
        for file in folder.glob("*.json"):
            read_json(file)
    try:
        return loader.from_pretrained(path, **options)
    except REFUSALS as error:
        raise refusal(what, path, part, error) from error
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise refusal(what, path, part, error) from error  # tokenizers raises the bare class


def weights_from_pretrained(loader: Any, what: str, path: str, **options: Any) -> Any:
    """`from_pretrained` of a model, all of whose weights must be there: a missing one would be
    drawn at random.

    Raises:
        ModelError: as `from_pretrained`, or some weights are missing or of another shape.
    """
    model, found = from_pretrained(
        loader, what, path, "causal language model", output_loading_info=True, **options
    )
    wrong = sorted(found["missing_keys"]) + [str(key[0]) for key in found["mismatched_keys"]]
    if wrong:
        raise ModelError(
            f"{what}: {len(wrong)} weights are missing or of another shape, the first is {wrong[0]}"
        )
    return model


def refusal(what: str, path: str, part: str, error: Exception) -> ModelError:
    """The one line of what stood in the way."""
    place = "there" if Path(path).is_dir() else "as a folder, in the local cache or on the hub"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    return ModelError(
        f"{what}: found no {part} {place} that can be loaded{suggestion(path)} ({reason})"
    )
