"""Loading model and tokenizer with errors a person can use: one line that names the model and what
to do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gdro.core.errors import ModelError
from gdro.models.cache import build, models_folder
from gdro.models.locate import ADAPTER, Location, adapter_base, locate, read_json
from gdro.models.pretrained import REFUSALS, from_pretrained, refusal, weights_from_pretrained
from gdro.models.unpack import KEPT_HEX, unpacked

Tell = Callable[[str], None]


def load_model(name: str, tell: Tell = lambda text: None) -> tuple[Any, Any, str]:
    """Model (float32 weights), tokenizer, and the folder or hub name that they were loaded from.

    LoRA adapters are merged into their base. The tokenizer pads on the left and has a pad token.

    Args:
        name: `tiny`, a model of `gdro fetch`, a folder, a .gguf file or a hub name.
        tell: is told what takes long.

    Raises:
        ModelError: there is no such model, or it is damaged, incomplete, or without a usable
            tokenizer.
    """
    location = locate(name)
    path = _folder(location, tell)
    tokenizer = _checked_tokenizer(name, path)
    if location.kind == "adapter":
        return _merged(location, tell), tokenizer, location.path
    return (
        weights_from_pretrained(AutoModelForCausalLM, f"model={name}", path, dtype=torch.float32),
        tokenizer,
        path,
    )


def load_tokenizer(location: Location) -> Any:
    """The tokenizer alone, of a .gguf file without unpacking it.

    Raises:
        ModelError: as `load_model`.
    """
    if location.kind == "gguf":
        file = Path(location.path)
        return _checked_tokenizer(location.name, str(file.parent), gguf_file=file.name)
    return _checked_tokenizer(location.name, _folder(location))


def plain_folder(name: str, tell: Tell = lambda text: None) -> str:
    """A folder with config.json and all weights, or a hub name: what engines other than
    transformers can load.

    A .gguf file is unpacked and LoRA adapters are merged into their base, each once, into the
    cache.

    Raises:
        ModelError: as `load_model`.
    """
    location = locate(name)
    if location.kind != "adapter":
        return _folder(location, tell)
    folder = Path(location.path)
    key = hashlib.sha256(adapter_base(folder).encode())
    for file in sorted(folder.glob("adapter_*")):
        key.update(file.read_bytes())

    def merge(draft: Path) -> None:
        model, tokenizer, _ = load_model(name, tell)
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)

    target = models_folder() / f"merged-{key.hexdigest()[:KEPT_HEX]}"
    tell(f"adapters merged into their base: {target}")
    return str(build(target, merge, needs=0))


def _checked_tokenizer(name: str, path: str, **options: Any) -> Any:
    """A tokenizer that encodes text, can end a completion, has a pad token and pads on the left."""
    tokenizer = from_pretrained(AutoTokenizer, f"model={name}", path, "tokenizer", **options)
    if not tokenizer("1 + 1 = 2")["input_ids"]:
        raise ModelError(
            f"model={name}: found no tokenizer there (an empty one loads, which encodes nothing)"
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"model={name}: its tokenizer has no end token, so no completion could end; set"
            " eos_token"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def _folder(location: Location, tell: Tell = lambda text: None) -> str:
    """The folder (or hub name) whose tokenizer, and but for adapters whose weights, transformers
    can load."""
    if location.kind == "gguf":
        return str(unpacked(Path(location.path), tell))
    if location.kind == "adapter" and not (Path(location.path) / "tokenizer_config.json").is_file():
        return _folder(locate(adapter_base(Path(location.path))), tell)
    return location.path


def _merged(location: Location, tell: Tell) -> Any:
    from peft import PeftModel

    read_json(Path(location.path) / ADAPTER)
    base, _, _ = load_model(adapter_base(Path(location.path)), tell)
    what = f"model={location.name}"
    try:
        adapted = PeftModel.from_pretrained(base, location.path)
    except REFUSALS as error:
        raise refusal(what, location.path, "LoRA adapters", error) from error
    return adapted.merge_and_unload()
