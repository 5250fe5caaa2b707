"""Settings of every test process: no hub, no telemetry, one thread, and the same hypothesis
examples each time."""

import os

from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("gdro", derandomize=True)  # no test is a stop-watch
settings.load_profile("gdro")
