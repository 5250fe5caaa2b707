"""`import gdro` is numpy alone: no torch, no engine, nothing heavy; the engine's names are there
all the same."""

import subprocess
import sys

HEAVY = (
    "torch",
    "trl",
    "transformers",
    "datasets",
    "verl",
    "pydantic",
    "matplotlib",
    "rich",
    "reasoning_gym",
)


def test_import_pulls_in_nothing_heavy():
    code = (
        "import sys, gdro; assert 'numpy' not in sys.modules; gdro.make_controller('joint',"
        f" mean_rollouts=4);print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_import_takes_a_moment():
    """Processor time beyond numpy's own, the best of five: a busy machine does not count."""
    code = (
        "import time, numpy; start = time.process_time(); from gdro import make_controller,"
        " group_advantages;print(time.process_time() - start)"
    )
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(5)
    ]
    assert min(times) < 0.3, times


def test_every_name_has_a_home():
    import gdro

    assert set(gdro.__all__) == set(gdro._HOME)
    assert set(gdro.__all__) <= set(dir(gdro))


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
