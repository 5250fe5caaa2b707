"""A cache of the test's own, and small .gguf files."""

from pathlib import Path

import pytest
from small_gguf import small_llama, write


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GDRO_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def plain_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole file of float32 weights."""
    return write(tmp_path_factory.mktemp("gguf") / "small.gguf", small_llama())
