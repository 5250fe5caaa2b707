"""`import gdro` is numpy alone: no torch, no engine, nothing heavy; the engine's names are there
all the same."""

import subprocess
import sys
from pathlib import Path

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


TORCH_ALONE = """
import runpy, sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from re import match

def needed(name, found):
    if name not in found:
        found.add(name)
        try:
            for line in requires(name) or []:
                if "extra ==" not in line:
                    needed(match("[A-Za-z0-9._-]+", line)[0].lower().replace("_", "-"), found)
        except PackageNotFoundError:
            pass
    return found

there = needed("torch", {"gdro", "numpy"})
owners = {
    name: {owner.lower().replace("_", "-") for owner in by}
    for name, by in packages_distributions().items()
}

class Alone(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = path is None and name in owners and not owners[name] & there
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Alone
runpy.run_path(sys.argv[1])
import torch, gdro.robust, gdro.robust.registry, gdro.robust.datasets
for name in gdro.robust.registry.method_names():
    method = gdro.robust.registry.make_method(name, ["a", "b"])
    method(torch.ones(2), ["a", "b"], ["x", "y"])
    method.epoch_end()
try:
    gdro.robust.RobustTrainer
except ImportError as error:
    print(error)
"""


def test_the_robust_methods_need_torch_alone():
    """With every other package than torch, what torch requires and numpy out of reach."""
    example = Path(__file__).parent.parent / "examples" / "robust_loop.py"
    done = subprocess.run(
        [sys.executable, "-c", TORCH_ALONE, str(example)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "RobustTrainer needs transformers: pip install 'gdro[trl]'"
    )


def test_every_public_name_is_there_and_documented():
    import gdro

    for name in gdro.__all__:
        thing = getattr(gdro, name)
        assert isinstance(thing, int | str) or thing.__doc__, name


def test_an_unknown_name_is_an_attribute_error():
    import gdro

    assert not hasattr(gdro, "no_such_name")
