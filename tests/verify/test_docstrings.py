"""The examples in the docstrings of the verifiers' modules hold."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import gdro.verify

MODULES = [
    name
    for _, name, package in pkgutil.walk_packages(gdro.verify.__path__, "gdro.verify.")
    if not package and not name.endswith("nursery")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
