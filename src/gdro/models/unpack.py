"""A .gguf file as an ordinary Hugging Face folder, its weights unpacked to float32, which holds
them exactly."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path

from gdro.core.errors import ModelError
from gdro.models.cache import build, models_folder
from gdro.models.gguf import read_header
from gdro.models.pretrained import from_pretrained, weights_from_pretrained

KEPT_HEX = 16


def unpacked(file: Path, tell: Callable[[str], None] = lambda text: None) -> Path:
    """The folder in the cache that a .gguf file was unpacked to, by its content; made on first use.

    Raises:
        ModelError: the file is damaged or of an architecture that transformers does not read, or
            the disk is full.
    """
    header = read_header(file)
    target = models_folder() / f"{file.stem}-{digest(file)[:KEPT_HEX]}"
    if target.is_dir():
        return target
    size = 4 * header.parameters
    tell(f"unpacking {file} once to {target} ({size / 1e6:.0f} MB)")
    return build(target, lambda draft: unpack(file, draft), needs=size + size // 10)


def unpack(file: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a .gguf file into an empty folder.

    Raises:
        ModelError: the file is not whole, or transformers does not read its architecture or
            tokenizer.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    header = read_header(file)
    what = f"{file} (architecture {header.architecture})"
    place = {"gguf_file": file.name}
    tokenizer = from_pretrained(AutoTokenizer, what, str(file.parent), "tokenizer", **place)
    model = weights_from_pretrained(
        AutoModelForCausalLM,
        what,
        str(file.parent),
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        **place,
    )
    rows = model.get_input_embeddings().num_embeddings
    used = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    if any(token is not None and token >= rows for token in used):
        raise ModelError(
            f"{what}: its special tokens {used} are beyond the {rows} rows of its embedding"
        )
    model.config.name_or_path = tokenizer.name_or_path = ""  # of the folder on this machine
    tokenizer.save_pretrained(folder)
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:  # it has no errno; see `cache.build`
        full = "os error 28" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def digest(file: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
