"""Runs with a synthetic record, for the tests of this folder."""

from __future__ import annotations

import pytest
from fake_record import FakeRun, write


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run of 60 steps under the joint controller."""
    return write(tmp_path_factory.mktemp("run"), FakeRun(60))
