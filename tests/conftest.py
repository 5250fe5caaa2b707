"""Settings of every test process: no hub, no telemetry, one thread, and the same hypothesis
examples each time."""

import gc
import os

from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

gc.disable()  # until all is imported
settings.register_profile("gdro", derandomize=True, deadline=None)  # no test is a stop-watch
settings.load_profile("gdro")

LONG = (
    "runs/test_train.py",
    "lab/test_compare_runs.py",
    "runs/test_resume.py",
    "engines/test_trl_resume.py",
    "engines/test_trl_rounds.py",
    "engines/test_trl_objectives.py",
    "runs/test_two_processes.py",
    "models/test_push_to_hub.py",
    "runs/test_cli_errors.py",
    "robust/test_robust_sft.py",
    "recipes/test_smollm2.py",
    "runs/test_dry_run.py",
    "objectives/test_objective_settings.py",
    "tests/test_examples.py",
    "research/test_finished_runs.py",
    "lab/test_gpu_check.py",
    "controllers/test_compositions.py",
    "verify/test_pool.py",
    "engines/test_trl_two_processes.py",
    "verify/test_verifier.py",
)
"""Modules of ten seconds and more, the longest first."""


def pytest_collection_modifyitems(items):
    """Long modules first: with `--dist loadfile --no-loadscope-reorder` no worker idles while the
    other is at the last one."""
    ranks = {name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get("/".join(item.path.parts[-2:]), len(LONG)))


def pytest_collection_finish(session):
    """Leave the libraries, some million objects that live to the end, out of every later garbage
    collection: each training asks for a full one."""
    gc.collect()
    gc.freeze()
    gc.enable()
