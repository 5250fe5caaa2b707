"""What a .gguf file says about itself: its architecture and sizes, read in a moment and checked
against its length.

The format is llama.cpp's (github.com/ggml-org/ggml, docs/gguf.md): `GGUF`, version, counts of
tensors and of metadata keys, the metadata, the table of tensors, then their data.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from gdro.core.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""Metadata types of one number, as in `struct`."""
STRING, ARRAY = 8, 9
MOST_DIMENSIONS = 4


@dataclass(frozen=True)
class Tensor:
    """One row of the table of tensors.

    Attributes:
        name: llama.cpp's name of it.
        shape: fastest-moving dimension first.
        kind: number of its type (gguf's `GGMLQuantizationType`).
        offset: from the start of the data.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def size(self) -> int:
        """Numbers in it."""
        return prod(self.shape)


@dataclass(frozen=True)
class Header:
    """A file's metadata (arrays left out) and table of tensors."""

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture, e.g. `llama`."""
        return str(self.metadata["general.architecture"])

    @property
    def parameters(self) -> int:
        """Numbers in all tensors; tied embeddings are stored, and counted, once."""
        return sum(tensor.size for tensor in self.tensors)

    def number(self, key: str) -> int | None:
        """The whole number under `<architecture>.<key>`, or None."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_header(path: Path) -> Header:
    """Read and check the header; the data are not read, only their place is checked.

    Raises:
        ModelError: no .gguf file of a version in use, cut off, damaged, or with a tensor type that
            is unknown here.
    """
    try:
        with path.open("rb") as file:
            if not (start := file.read(24)).startswith(MAGIC):
                raise ModelError(f"{path} is no .gguf file (it does not start with GGUF)")
            if len(start) < 24:
                raise _damaged(path, "it is cut off in its first bytes")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _Reader(path, content).header()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(f"{path} is damaged: {why}; fetch it again")


class _Reader:
    """A place in the file that moves on with what is read."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self.path, self.content, self.at = path, content, 4

    def header(self) -> Header:
        (version,) = self.take("I")
        if version not in VERSIONS:
            raise ModelError(
                f"{self.path} is a .gguf file of version {version}; versions 2 and 3 can be read"
            )
        tensors, keys = self.take("QQ")
        metadata = {}
        for _ in self.counted(keys, 13):
            key = self.text()
            value = self.value(self.take("I")[0])
            if value is not None:
                metadata[key] = value
        if not isinstance(metadata.get("general.architecture"), str):
            raise _damaged(self.path, "it names no general.architecture")
        table = tuple(self.tensor() for _ in self.counted(tensors, 24))
        if not table:
            raise ModelError(
                f"{self.path} holds no tensors, a vocabulary at most; take a file with the weights"
            )
        header = Header(self.path, metadata, table)
        self.check_data(header)
        return header

    def take(self, form: str) -> tuple[Any, ...]:
        """The next numbers, little-endian."""
        try:
            found = struct.unpack_from(f"<{form}", self.content, self.at)
        except struct.error:
            raise self.cut_off() from None
        self.at += struct.calcsize(f"<{form}")
        return found

    def counted(self, count: int, at_least: int) -> Iterator[int]:
        """`count` turns, if the rest of the file can hold so many of `at_least` bytes: a wrong
        count stops here."""
        if count * at_least > len(self.content) - self.at:
            raise self.cut_off()
        return iter(range(count))

    def text(self) -> str:
        (length,) = self.take("Q")
        if length > len(self.content) - self.at:
            raise self.cut_off()
        found = self.content[self.at : self.at + length]
        self.at += length
        return found.decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """The value, or None for an array, which is stepped over."""
        if kind in NUMBERS:
            return self.take(NUMBERS[kind])[0]
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            raise _damaged(self.path, f"it has metadata of type {kind}, which does not exist")
        inner, count = self.take("IQ")
        if inner in NUMBERS:
            self.counted(count, width := struct.calcsize(NUMBERS[inner]))
            self.at += count * width
        elif inner == STRING:
            for _ in self.counted(count, 8):
                self.text()
        else:
            raise _damaged(self.path, f"it has an array of type {inner}")
        return None

    def tensor(self) -> Tensor:
        name = self.text()
        (dimensions,) = self.take("I")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise _damaged(self.path, f"its tensor {name!r} has {dimensions} dimensions")
        shape = self.take(f"{dimensions}Q")
        kind, offset = self.take("IQ")
        return Tensor(name, shape, kind, offset)

    def check_data(self, header: Header) -> None:
        """Every tensor lies inside the file."""
        align = header.metadata.get("general.alignment", 32)
        if not isinstance(align, int) or align < 1:
            raise _damaged(self.path, f"its general.alignment is {align!r}")
        start = -(-self.at // align) * align
        for tensor in header.tensors:
            end = start + tensor.offset + _bytes(self.path, tensor)
            if end > len(self.content):
                raise _damaged(
                    self.path,
                    f"{tensor.name} ends at byte {end:,} and the file at {len(self.content):,}",
                )

    def cut_off(self) -> ModelError:
        return _damaged(self.path, f"it is cut off or garbled at byte {self.at:,}")


def _bytes(path: Path, tensor: Tensor) -> int:
    try:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError:
        raise ModelError(
            f"{path}: reading .gguf files needs the package gguf: pip install 'gdro[trl]'"
        ) from None
    try:
        block, width = map(int, GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)])
    except (KeyError, ValueError):
        raise ModelError(
            f"{path}: its tensor {tensor.name!r} is of type {tensor.kind}, which the installed gguf"
            " does not know; a newer one may: pip install --upgrade gguf"
        ) from None
    return tensor.size // block * width
