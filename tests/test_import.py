"""`import gdro` is numpy alone: no torch, no engine, nothing heavy; the engine's names are there all the same."""

import subprocess
import sys

HEAVY = ("torch", "trl", "transformers", "datasets", "verl", "pydantic", "matplotlib", "rich", "reasoning_gym")


def test_import_pulls_in_nothing_heavy():
    code = f"import sys, gdro; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_robust_methods_need_torch_alone():
    heavy = [name for name in HEAVY if name != "torch"]
    code = f"import sys, gdro.robust; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_documented():
    import gdro

    for name in gdro.__all__:
        thing = getattr(gdro, name)
        assert isinstance(thing, int | str) or thing.__doc__, name


def test_an_unknown_name_is_an_attribute_error():
    import gdro

    assert not hasattr(gdro, "no_such_name")
