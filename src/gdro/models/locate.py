"""What a `model:` setting names, found out without torch and before anything is made."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gdro.core.errors import ModelError
from gdro.models.cache import models_folder
from gdro.models.gguf import read_header
from gdro.models.releases import RELEASES
from gdro.tiny import base_path

TINY = "tiny"
CONFIG, ADAPTER = "config.json", "adapter_config.json"
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Location:
    """Where a model is.

    Attributes:
        name: as it was given.
        kind: a folder with config.json, a folder with LoRA adapters, a .gguf file, or a name for
            the hub.
        path: of the folder or file; the name itself for the hub.
    """

    name: str
    kind: Literal["folder", "adapter", "gguf", "hub"]
    path: str


def locate(name: str) -> Location:
    """Find `tiny`, a fetched model, a folder, a .gguf file; whatever does not look like a path is a
    hub name.

    Raises:
        ModelError: nothing of that name, or nothing that could be a model; one line with what to
            do.
    """
    if name == TINY:
        return Location(name, "folder", str(base_path()))
    if name in RELEASES:
        folder = models_folder() / name
        if not folder.is_dir():
            size = RELEASES[name].download / 1e6
            raise ModelError(
                f"model={name} is not on this machine; fetch it once ({size:.0f} MB): gdro fetch"
                f" {name}"
            )
        return Location(name, "folder", str(folder))
    path = Path(name).expanduser()
    if path.is_dir():
        return Location(name, _kind(name, path), str(path))
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"model={name}: there is no such file")
        read_header(path)
        return Location(name, "gguf", str(path))
    if path.is_file():
        raise ModelError(
            f"model={name} is a file; give a Hugging Face model folder, or a .gguf file"
        )
    if name[0] in "./~" or HUB_NAME.fullmatch(name) is None:
        raise ModelError(f"model={name}: there is no such folder")
    return Location(name, "hub", name)


def own_model(model: object) -> object:
    """The folder of `tiny` or of a fetched model, for what else would take the name for one of the
    hub's; anything else as it came.

    Raises:
        ModelError: it is not on this machine yet; one line with what to do.
    """
    if isinstance(model, str) and (model == TINY or model in RELEASES):
        return locate(model).path
    return model


def suggestion(name: str) -> str:
    """` (did you mean smollm2?)` for a name that is nearly one of ours, else nothing."""
    near = difflib.get_close_matches(name.lower(), [TINY, *RELEASES], n=1, cutoff=0.7)
    return f" (did you mean {near[0]}?)" if near and "/" not in name else ""


def adapter_base(folder: Path) -> str:
    """The model that LoRA adapters belong to, as `locate` takes it.

    The folder that adapter_config.json names may be another machine's; the settings of the run
    beside it, if it is a run's, name the model in a way that holds anywhere.

    Raises:
        ModelError: neither is to be had.
    """
    base = read_json(folder / ADAPTER).get("base_model_name_or_path")
    if isinstance(base, str) and base and (not base.startswith("/") or Path(base).exists()):
        return base
    if (model := _run_model(folder.parent)) is not None:
        return model
    raise ModelError(
        f"{folder}: the base model of these adapters, {base!r}, is not there; put its folder or"
        f" name into base_model_name_or_path in {folder / ADAPTER}"
    )


def read_json(path: Path) -> dict[str, object]:
    """An object from a file of JSON.

    Raises:
        ModelError: it cannot be read, or is no object.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} is damaged: not valid JSON ({error}); fetch or export the model again"
        ) from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} is damaged: it holds no object; fetch or export the model again")
    return found


def _kind(name: str, folder: Path) -> Literal["folder", "adapter"]:
    if (folder / CONFIG).is_file():
        return "folder"
    if (folder / ADAPTER).is_file():
        return "adapter"
    if (folder / "config.yaml").is_file() and (folder / "metrics.jsonl").is_file():
        raise ModelError(
            f"model={name} is the folder of a run; its trained model is {folder / 'model'}"
        )
    if files := sorted(folder.glob("*.gguf")):
        raise ModelError(
            f"model={name}: the folder has no {CONFIG}; name the file itself: {files[0]}"
        )
    raise ModelError(
        f"model={name}: the folder has no {CONFIG} and no {ADAPTER}; give a Hugging Face model"
        " folder"
    )


def _run_model(run: Path) -> str | None:
    """`model` in the settings of a run, as `gdro train` writes them."""
    config = run / "config.yaml"
    if not config.is_file():
        return None
    found = re.search(r"^model: (.+)$", config.read_text(encoding="utf-8"), re.MULTILINE)
    return None if found is None else found[1].strip("'\"")
