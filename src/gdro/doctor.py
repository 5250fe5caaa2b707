"""`gdro doctor`: what this machine has, what is missing for which use, and how to get it. Changes
nothing."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from gdro import __version__
from gdro.models.cache import cache_folder, size_of
from gdro.models.fetch import describe
from gdro.models.releases import RELEASES

EXTRAS = {
    "verify": "checking mathematical answers",
    "trl": "gdro train, evaluate, compare, and GDROTrainer",
    "vllm": "generation.backend: vllm",
    "diffusion": "gdro diffusion",
    "verl": "verl's trainer, in an environment of its own: verl 0.9 does not work beside TRL",
}
"""The extras of this package that a user may want, and what for."""
ENGINES = {
    "trl": "pip install 'gdro[trl]'",
    "verl": "pip install 'gdro[verl]', in an environment of its own",
    "slime": "see its own instructions; gdro.engines.slime needs nothing more",
    "tinker": "pip install 'tinker-cookbook>=0.6.1,<0.7'",
    "vllm": "pip install 'gdro[vllm]' (optional: generation.backend vllm, on a GPU)",
}
IMPORT_SECONDS = 120
GB = 1e9


@dataclass(frozen=True)
class Lack:
    """A requirement of an extra that is not met.

    Attributes:
        name: of the distribution.
        wanted: the versions that would do, `>=0.21`; empty for any.
        found: the version that is here, or None.
    """

    name: str
    wanted: str
    found: str | None

    def __str__(self) -> str:
        return (
            self.name if self.found is None else f"{self.name} {self.found} (needs {self.wanted})"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page."""
    parser = argparse.ArgumentParser(
        prog="gdro doctor", description="What is here, what is missing, how to get it."
    )
    parser.parse_args(arguments)
    for line in page():
        print(line, flush=True)
    return 0


def page() -> Iterator[str]:
    """The lines, as they are found out."""
    yield (
        f"gdro         {__version__}, Python {platform.python_version()}, {platform.system()}"
        f" {platform.machine()}"
    )
    yield f"machine      {os.cpu_count()} cores, {_memory()}"
    yield from (f"gpu          {line}" for line in _gpus())
    for name, remedy in ENGINES.items():
        yield f"{name:<12} {_engine(name, remedy)}"
    for extra, use in EXTRAS.items():
        lacks = missing(extra)
        state = (
            f"lacks {', '.join(map(str, lacks))}: pip install 'gdro[{extra}]'"
            if lacks
            else "complete"
        )
        yield f"gdro[{extra}]".ljust(16) + f"{state}; for {use}"
    yield from (f"model        {describe(name)}" for name in RELEASES)
    for what, folder in _caches():
        size = f"{size_of(folder) / GB:.2f} GB" if folder.is_dir() else "empty"
        yield f"cache        {what}: {folder} ({size})"
    yield f"hub          {_hub()}"


def missing(extra: str, distribution: str = "gdro") -> list[Lack]:
    """The requirements of an extra, as the installed package states them, that are not met."""
    lacks = []
    for text in metadata.requires(distribution) or []:
        requirement, _, condition = text.partition(";")
        if re.search(rf"extra\s*==\s*['\"]{extra}['\"]", condition) is None:
            continue
        name = re.match(r"[\w.-]+", requirement)
        assert name is not None, f"a requirement begins with a name: {requirement}"
        inner = re.match(rf"{distribution}\[(\w+)\]", requirement)
        if inner is not None:
            lacks += missing(inner[1], distribution)
            continue
        version = installed(name[0])
        if version is None or not _satisfies(requirement, version):
            lacks.append(Lack(name[0], requirement.removeprefix(name[0]).strip(), version))
    return lacks


def installed(name: str) -> str | None:
    """The version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _satisfies(requirement: str, version: str) -> bool:
    """Whether the version is in the range; without the package `packaging` every version is
    taken."""
    if find_spec("packaging") is None:
        return True
    from packaging.requirements import Requirement

    return Requirement(requirement).specifier.contains(version, prereleases=True)


def _engine(name: str, remedy: str) -> str:
    version = installed(name)
    if version is None and find_spec(name) is None:
        return f"not installed: {remedy}"
    wrong = _import_error(name)
    state = "imports" if wrong is None else f"installed, but does not import: {wrong}"
    return f"{version or 'version unknown'}, {state}"


def _import_error(name: str) -> str | None:
    """What stops `import name`, tried in a process of its own: one engine's import may spoil
    another's."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"],
            capture_output=True,
            text=True,
            timeout=IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {IMPORT_SECONDS} s"
    if done.returncode == 0:
        return None
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return said[-1] if said else f"exit status {done.returncode}"


def _gpus() -> Iterator[str]:
    if find_spec("torch") is None:
        yield "unknown: torch is not installed; pip install 'gdro[trl]'"
        return
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            half = "with" if torch.cuda.is_bf16_supported() else "WITHOUT"
            yield (
                f"{about.name}, {about.total_memory / GB:.0f} GB, {half} bfloat16 (torch"
                f" {torch.__version__})"
            )
    elif shutil.which("nvidia-smi"):
        yield (
            f"torch {torch.__version__} does not see the GPU of this machine: install its CUDA"
            " build, see pytorch.org"
        )
    else:
        yield (
            f"none; torch {torch.__version__} computes on the CPU with {torch.get_num_threads()}"
            " threads"
        )


def _memory() -> str:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    free = shutil.disk_usage(Path.cwd()).free
    return f"{pages * size / GB:.1f} GB of memory, {free / GB:.1f} GB of disk free here"


def _caches() -> Iterator[tuple[str, Path]]:
    yield "gdro", cache_folder()
    home = (
        os.environ.get("HF_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    yield "Hugging Face", Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _hub() -> str:
    if find_spec("huggingface_hub") is None:
        return "huggingface_hub is not installed; pip install 'gdro[trl]'"
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        return "offline (HF_HUB_OFFLINE is set): only what is in the cache is found"
    return (
        "logged in"
        if get_token()
        else "no token: public models only, and no push_to_hub; hf auth login"
    )
