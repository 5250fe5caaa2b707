from __future__ import annotations

from pathlib import Path

import pytest

from gdro.runs.config import ConfigError
from gdro.runs.config_output import make_output


def test_first_free(tmp_path: Path) -> None:
    names = [make_output(None, "a", tmp_path / "runs").name for _ in range(3)]
    assert names == ["a-001", "a-002", "a-003"]
    (tmp_path / "runs" / "a-002").rmdir()
    assert make_output(None, "a", tmp_path / "runs").name == "a-002"
    assert make_output(None, "b", tmp_path / "runs").name == "b-001"


def test_asked_for(tmp_path: Path) -> None:
    asked = tmp_path / "x" / "y"
    assert make_output(str(asked), "a") == asked
    assert make_output(str(asked), "a").is_dir()
    (asked / "file").touch()
    with pytest.raises(ConfigError, match=r"is not empty; .*--resume"):
        make_output(str(asked), "a")
    with pytest.raises(ConfigError, match="is a file"):
        make_output(str(asked / "file"), "a")
    with pytest.raises(ConfigError, match="cannot be made"):
        make_output(str(asked / "file" / "z"), "a")
